"""A cached teacher that keeps what methods need of maps: every method, beside a live teacher."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from method_setting import SmallNet
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, LimbeckError, data
from limbeck.data import Loader, Source
from limbeck.methods import Context, Method, Reads
from limbeck.methods.parts.sides import stage_side
from limbeck.outputs import Outputs
from limbeck.teachers import CachedTeacher
from limbeck.teachers.cache_admin import cache_files, examine
from two_processes import run_in_two_processes

EVERYTHING = ("logits", "embedding", "maps")
SIZE = 16

OBJECTIVES = {
    "afd": "ce + 500*afd(regressor=true)",
    "afd_attention": "ce + 200*afd_attention(dim=8)",
    "at": "ce + 1000*at",
    "fitnet": "ce + 100*fitnet",
    "ft": "ce + 200*ft(epochs=1)",
    "masked_generative": "ce + masked_generative(alpha=0.01)",
    "nst": "ce + 50*nst",
    "ofd": 'ce + 0.001*ofd(margins="batch")',
    "ofd, batch norms": "ce + 0.001*ofd",
    "pairwise": "ce + 10*pairwise(nodes=2)",
    "reviewkd": "ce + 5*reviewkd(warmup=0)",
    "rtk": "ce + 200*rtk(dim=8)",
    "simkd": "simkd",
    "sp": "ce + 3000*sp",
    "srrl": "ce + srrl",
    "vid": "ce + vid",
    "several": "0.1*ce + 0.9*kd + 1000*at + 100*fitnet(stage=0) + vid",
    "mgd": "mgd(0.2*ce + 0.8*kd + 1000*at, epochs=1)",
    "mgd, stable": 'mgd(ce + kd + 100*fitnet, scheme="stable", epochs=1)',
    "dot": "dot(ce + 1000*at)",
}
"""Objectives whose teacher may be in files altogether."""

LIVE = {
    "ckd": "ckd(100*fitnet)",
    "kcd": "ce + kcd(warmup=1)",
    "infoflow": 'ce + infoflow(auxiliary="none")',
    "a field that is also read whole": "ce + at + kcd(warmup=1)",
}
"""Objectives that read maps of their teacher of which no cache keeps anything, now or in training."""


class Larger(SmallNet):
    """A teacher with maps twice as large as the student's."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return super().forward(torch.nn.functional.interpolate(x, scale_factor=2.0))


def source(views: str = "crop(padding=1, flip=true)") -> Source:
    images = torch.randint(
        0, 256, (SIZE, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return data.from_tensors(images, torch.arange(SIZE) % 5, validation=None, views=views)


def network(larger: bool) -> SmallNet:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return (Larger(4) if larger else SmallNet(4)).eval()


def distiller(teacher: Any, objective: str, *, norm: bool = True) -> Distiller:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Distiller(
            SmallNet(3, norm=norm), teacher, objective, example=source().example(), data=source()
        )
        if made.phases:
            loader = Loader(source().train, 8, views=source().views)
            limbeck.prepare(made, loader, display=False, device="cpu", precision="fp32")
    made.progress(3, 1, 0.5)
    return made.train()


def cached(path: Path, *, larger: bool = False, **arguments: Any) -> CachedTeacher:
    return CachedTeacher(network(larger), source(), EVERYTHING, directory=path, **arguments)


def batches(**arguments: Any) -> Iterator[Batch]:
    return iter(Loader(source().train, 8, views=source().views, **arguments))


@pytest.mark.parametrize("larger", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_the_live_ones_to_rounding_and_the_network_is_asked_once(
    name: str, larger: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "phases"))
    if larger and name == "simkd":
        pytest.skip("a map that is pooled cannot stand before the teacher's classifier with this example")
    objective = OBJECTIVES[name]
    teacher = cached(tmp_path, larger=larger)
    ours, theirs = distiller(teacher, objective), distiller(network(larger), objective)
    assert teacher.cached == ours.reads.teacher or name == "simkd"
    for batch in batches():
        cold, live = copy.deepcopy(ours)(batch), theirs(batch)
        assert cold.terms.keys() == live.terms.keys()
        for term in live.terms:
            assert cold[term].item() == pytest.approx(live[term].item(), rel=3e-3, abs=1e-6), term
        before = teacher.shown
        warm = ours(batch)
        assert teacher.shown == before
        assert torch.equal(warm.total, cold.total)


@pytest.mark.parametrize("name", LIVE)
def test_what_is_needed_of_several_samples_or_is_not_said_is_asked_live(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "phases"))
    teacher = cached(tmp_path)
    ours, theirs = distiller(teacher, LIVE[name]), distiller(network(larger=False), LIVE[name])
    for batch in batches():
        assert torch.equal(ours(batch).total, theirs(batch).total)
    assert not any(name.startswith("stages") for name in teacher.names)


def test_a_live_teacher_computes_what_the_pure_function_does(tmp_path: Path) -> None:
    made = distiller(network(larger=True), "at(p=3)")
    (batch, *_) = batches()
    seen: list[tuple[Tensor, ...]] = []
    (method,) = made.objective.wrapped
    method.register_forward_hook(lambda _, given, out: seen.append((*given[0].stages, *given[1].stages, out)))
    made(batch)
    ((first, second, big, bigger, value),) = seen
    pairs = ((first, big), (second, bigger))
    assert torch.equal(value, sum(limbeck.losses.attention_transfer(*pair, p=3) for pair in pairs))


def sizes(teacher: CachedTeacher) -> dict[str, int]:
    return {name: size // SIZE for name, size in teacher.bytes_of_view().items()}


def test_a_file_holds_no_more_than_the_method_needs(tmp_path: Path) -> None:
    """Of the teacher, stages are (4, 16, 16) and (8, 8, 8); of the student, 8 x 8 and 4 x 4."""
    for objective, expected in {
        "at": {
            "stages[0] pooled to 8 x 8, attention with p=2": 2 * 64 + 4,
            "stages[1] pooled to 4 x 4, attention with p=2": 2 * 16 + 4,
        },
        "at(p=3, pairs=[[-1, -1]])": {"stages[1] pooled to 4 x 4, attention with p=3": 2 * 16 + 4},
        "vid": {"stages[0] pooled to 8 x 8": 2 * 4 * 64 + 4, "stages[1] pooled to 4 x 4": 2 * 8 * 16 + 4},
        "vid(pairs=[[0, 1]])": {"stages[1]": 2 * 8 * 64 + 4},
        "pairwise(nodes=2)": {"stages[1] pooled to 2 x 2": 2 * 8 * 4 + 4},
        "sp": {"stages[1]": 2 * 8 * 64 + 4},
        'ofd(margins="batch", pairs=[[0, 0]])': {"preactivations[0]": 2 * 4 * 256 + 4},
        "ofd(pairs=[[0, 0]])": {"preactivations[0] pooled to 8 x 8": 2 * 4 * 64 + 4},
    }.items():
        teacher = cached(tmp_path, larger=True)
        distiller(teacher, objective)
        assert sizes(teacher) == expected, objective


def test_methods_that_need_the_same_share_a_file_and_other_arguments_have_another(tmp_path: Path) -> None:
    for objective, files in (("vid", 2), ("fitnet(stage=1)", 2), ("at", 4), ("at(p=4)", 6), ("at + vid", 6)):
        made = distiller(cached(tmp_path), objective)
        for batch in batches():
            made(batch)
        assert len(cache_files(directory=tmp_path)) == files, objective
    keys = [json.loads(file.read_bytes()[:4096])["key"] for file in cache_files(directory=tmp_path)]
    assert {(key["field"], key["point"]) for key in keys} == {
        ("stages[0]", "stage1"),
        ("stages[1]", "stage2"),
        *((f"stages[0], attention with p={p}", "stage1") for p in (2, 4)),
        *((f"stages[1], attention with p={p}", "stage2") for p in (2, 4)),
    }


def test_each_view_has_an_entry_of_its_own(tmp_path: Path) -> None:
    teacher, of = cached(tmp_path), source("crop(padding=0, flip=true)")
    made = distiller(teacher, "fitnet(stage=0)")
    index = torch.arange(4)
    answers = []
    for view in (0, 1):
        numbers = torch.full_like(index, view)
        images = of.train.samples.render(of.views, index, numbers)
        batch = Batch(images, index=index, view=numbers)
        made(batch)
        answers.append(teacher(batch)["sides"]["stages[0]"])
        with torch.no_grad():
            exact = network(larger=False).stage1(images)
        assert torch.equal(answers[-1], exact.half().float())
    assert not torch.equal(*answers)


def test_damage_is_found_and_mended(tmp_path: Path) -> None:
    teacher = cached(tmp_path)
    made = distiller(teacher, "fitnet")
    total = [made(batch).total.item() for batch in batches(shuffle=False)]
    (file,) = cache_files(directory=tmp_path)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    found = examine(file, check=True)
    assert (found.rows, found.torn) == (SIZE - 1, 1)
    again = cached(tmp_path)
    made = distiller(again, "fitnet")
    before = again.shown
    assert [made(batch).total.item() for batch in batches(shuffle=False)] == pytest.approx(total, rel=1e-4)
    assert again.shown - before == 1
    assert examine(file, check=True).rows == SIZE


def test_the_files_are_of_one_policy_and_one_network(tmp_path: Path) -> None:
    for teacher in (
        cached(tmp_path),
        CachedTeacher(network(larger=True), source(), EVERYTHING, directory=tmp_path),
        CachedTeacher(network(larger=False), source("none"), EVERYTHING, directory=tmp_path),
    ):
        made = distiller(teacher, "at(pairs=[[0, 0]])")
        before = teacher.shown
        made(next(batches()))
        assert teacher.shown - before == 8
    assert len(cache_files(directory=tmp_path)) == 3


def shares(rank: int, world: int, path: str) -> list[float]:
    """The losses of one process's share of each batch."""
    loader = Loader(source().train, 8, views=source().views, rank=rank, world=world)
    made = distiller(cached(Path(path)), "at + vid", norm=False)
    return [made(batch).total.item() for batch in loader]


def test_two_processes_fill_the_same_files(tmp_path: Path) -> None:
    paths = [Path(__file__).parent, *map(Path, sys.path)]
    (found,) = run_in_two_processes([(shares, (str(tmp_path),))], paths)
    teacher = cached(tmp_path)
    made, before = distiller(teacher, "at + vid", norm=False), teacher.shown
    live = distiller(network(larger=False), "at + vid", norm=False)
    for batch, *parts in zip(batches(), *found, strict=True):
        assert sum(parts) / 2 == pytest.approx(made(batch).total.item(), rel=1e-4)
        assert made(batch).total.item() == pytest.approx(live(batch).total.item(), rel=1e-3)
    assert teacher.shown == before


# A budget


ROW = 2 * 64 + 4
"""Bytes of an attention map of 8 x 8."""
ONE = "at(pairs=[[0, 0]])"


def test_a_budget_keeps_the_views_that_come_first(tmp_path: Path) -> None:
    teacher = cached(tmp_path, views=3, budget=2 * SIZE * ROW + 7)
    with pytest.warns(UserWarning, match=r"2 of 3 views are cached, for a view of 16 samples takes 2.1 kB"):
        made = distiller(teacher, ONE)
    assert teacher.views_kept == 2
    live = distiller(network(larger=False), ONE)
    shown = []
    for _ in range(6):
        before = teacher.shown
        loader = Loader(source().train, 8, views=source().views, views_per_sample=3)
        for epoch in range(3):
            loader.set_epoch(epoch)
            for batch in loader:
                assert made(batch).total.item() == pytest.approx(live(batch).total.item(), rel=1e-3)
        shown.append(teacher.shown - before)
    assert 0 < shown[-1] == shown[1] < shown[0] <= 3 * SIZE
    (file,) = cache_files(directory=tmp_path)
    assert file.stat().st_size <= 4096 + 2 * SIZE * ROW
    rest = cached(tmp_path, views=3)
    made = distiller(rest, ONE)
    before = rest.shown
    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            made(batch)
    assert 0 < rest.shown - before <= shown[-1], "what was kept is read"


def test_a_budget_too_small_for_a_view_is_said_and_the_teacher_is_asked_live(tmp_path: Path) -> None:
    teacher = cached(tmp_path, budget=SIZE * ROW - 1)
    expected = (
        "the teacher is asked live: a view of 16 samples takes 2.1 kB, and the budget of its cache leaves"
    )
    with pytest.warns(UserWarning, match=expected):
        made = distiller(teacher, ONE)
    assert (teacher.cached, teacher.views_kept) == ((), 0)
    live = distiller(network(larger=False), ONE)
    for batch in batches():
        assert torch.equal(made(batch).total, live(batch).total)
    assert cache_files(directory=tmp_path) == []


def test_a_budget_is_of_phases_and_training_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "phases"))
    objective, vectors = f"mgd(ce + kd, epochs=1) + {ONE}", 2 * 5 + 4 + 2 * 8 + 4
    roomy = cached(tmp_path / "a", views=1, budget=SIZE * (vectors + ROW))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distiller(roomy, objective)
    assert roomy.views_kept == 1
    tight = cached(tmp_path / "b", views=1, budget=SIZE * (vectors + ROW) - 1)
    with pytest.warns(UserWarning, match="the teacher is asked live: a view of 16 samples"):
        distiller(tight, objective)
    assert tight.cached == ()


# What cannot be kept


def test_maps_of_another_size_than_before_are_refused(tmp_path: Path) -> None:
    teacher = cached(tmp_path)
    distiller(teacher, "fitnet")
    batch = next(batches())
    assert isinstance(batch.inputs, Tensor)
    wide = Batch(nn.functional.pad(batch.inputs, (0, 8)), index=batch.index, view=batch.view)
    with pytest.raises(
        LimbeckError, match=r"stages\[1\] of a sample is of shape \(8, 4, 8\) in this batch and"
    ):
        teacher(wide)


class Own(Method):
    """A method of somebody else's that says what it needs."""

    reads = Reads(student=("stages",), teacher=("stages",))

    def bind(self, context: Context) -> None:
        self.sides = (stage_side(context, -1),)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (student.stages[-1].mean() - self.sides[0].of(teacher).mean()).square()


def test_a_method_of_somebody_elses_is_cached_as_well(tmp_path: Path) -> None:
    teacher = cached(tmp_path)
    made = Distiller(SmallNet(3), teacher, Own(), example=source().example())
    values = [made(batch).total.item() for batch in batches()]
    before = teacher.shown
    assert [made(batch).total.item() for batch in batches()] == values
    assert teacher.shown == before
