from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck import data
from limbeck.data import Loader
from limbeck.data.views import Crop, Schedule, draw, parse
from limbeck.data.views.cutout import Cutout
from limbeck.data.views.schedule import timed
from limbeck.errors import LimbeckError

TEXT = (
    'schedule(policies=["crop(padding=1)", "cutout(size=3, fill=128, count=5) + crop(padding=1)"], '
    "starts=[0, 2])"
)
CROP, CUT = Crop(padding=1), Cutout(size=3, count=5)


def images(size: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (size, 3, 6, 7), dtype=torch.uint8, generator=generator)


def shown(views: data.Views, given: Tensor, index: Tensor, view: Tensor) -> Tensor:
    made = views.render(given, index, view)
    assert isinstance(made, Tensor)
    return made


def test_text_and_policy_are_the_same() -> None:
    views = parse(TEXT)
    assert isinstance(views, Schedule)
    assert str(views) == TEXT
    assert (views.count, views.base) == (9 + 45, 4)
    assert [views.of_epoch(epoch) for epoch in (0, 1, 2, 3, 99)] == [(0, 9), (0, 9), *[(9, 45)] * 3]
    assert CROP.of_epoch(3) == (0, 9)


def test_a_number_says_the_policy_and_its_view() -> None:
    views, given = parse(TEXT), images(54)
    index, view = torch.arange(54) * 3, torch.randperm(54, generator=torch.Generator().manual_seed(1))
    found = shown(views, given, index, view)
    for row in range(54):
        one = slice(row, row + 1)
        number = int(view[row])
        if number < 9:
            expected = shown(CROP, given[one], index[one], view[one])
        else:
            cut = shown(CUT, given[one], index[one], (view[one] - 9) // 9)
            expected = shown(CROP, cut, index[one], (view[one] - 9) % 9)
        assert torch.equal(found[one], expected), number


def test_maps_move_as_the_policy_says() -> None:
    views = parse(TEXT)
    maps = torch.randint(0, 5, (54, 6, 7), generator=torch.Generator().manual_seed(2))
    index = view = torch.arange(54)
    moved = views.render_target(maps, index, view.flip(0), ignored=9)
    number = view.flip(0)
    number = number.where(number < 9, (number - 9) % 9)
    assert torch.equal(moved, CROP.render_target(maps, index, number, ignored=9))


def test_an_epoch_draws_among_the_views_of_its_policy() -> None:
    source = data.from_tensors(images(), torch.arange(40) % 4, validation=None)
    loader = Loader(source.train, 40, views=parse(TEXT), seed=3)
    for epoch in range(4):
        (batch,) = loader
        first, count = (0, 9) if epoch < 2 else (9, 45)
        assert batch.index is not None
        assert batch.view is not None
        assert torch.equal(batch.view, first + draw(3, batch.index, epoch, count))
        expected = shown(parse(TEXT), images()[batch.index], batch.index, batch.view)
        assert isinstance(batch.inputs, Tensor)
        assert torch.equal(batch.inputs, expected.float() / 255)


def test_few_views_are_not_drawn_from_policies_that_change() -> None:
    source = data.from_tensors(images(), torch.arange(40) % 4, validation=None)
    with pytest.raises(LimbeckError, match="change with the epoch, so 4 of each sample cannot be drawn"):
        Loader(source.train, 8, views=parse(TEXT), views_per_sample=4)
    one = parse('schedule(policies=["crop(padding=1)"], starts=[0])')
    few = [batch.view for batch in Loader(source.train, 8, views=one, views_per_sample=4, seed=1)]
    plain = [batch.view for batch in Loader(source.train, 8, views=CROP, views_per_sample=4, seed=1)]
    assert all(torch.equal(a, b) for a, b in zip(few, plain, strict=True) if a is not None and b is not None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('schedule(policies=["crop"], starts=[1])', r"rise from 0.* 1 policies and starts=\[1\]"),
        ('schedule(policies=["crop", "none"], starts=[0])', r"2 policies and starts=\[0\]"),
        ('schedule(policies=["crop", "none"], starts=[0, 0])', r"rise from 0, such as starts=\[0, 5\]"),
        ("schedule(policies=[], starts=[])", "0 policies"),
        ('schedule(policies=["crp"], starts=[0])', "did you mean 'crop'"),
        ("schedule(policies=[3], starts=[0])", "schedule: the argument policies"),
        ('schedule(policies=["crop"])', "views 'schedule' needs starts"),
        ('schedule(policies=["crop"], starts=[0]) + cutout', "a schedule is no part of a sum"),
        ('schedule(policies=["bank", "none"], starts=[0, 1])', "too many, 2,147,483,649; "),
        (
            r'schedule(policies=["schedule(policies=[\"crop\"], starts=[0])"], starts=[0])',
            "a schedule has no schedule in it",
        ),
    ],
)
def test_refuses_text(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)


def test_a_policy_that_goes_on_is_said_once() -> None:
    one, two = parse("crop"), parse("cutout")
    assert timed([one, one, two, two, one], [0, 2, 4, 6, 8]) == Schedule((one, two, one), (0, 4, 8))
    assert timed([one, one], [0, 2]) == one


def test_refuses_what_is_no_image() -> None:
    views = parse('schedule(policies=["none", "none"], starts=[0, 1])')
    with pytest.raises(LimbeckError, match=r'the views "schedule.*" need images'):
        views.render(torch.zeros(2, 5), torch.zeros(2), torch.zeros(2))
