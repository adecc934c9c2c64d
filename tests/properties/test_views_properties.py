from __future__ import annotations

import pytest
import torch

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import views

POLICIES = st.sampled_from(
    [
        "crop(padding=2)",
        "crop(padding=1, flip=true)",
        "cutout(size=3)",
        "crop(padding=1) + cutout(size=2)",
        "color_jitter(brightness=0.3)",
        "scaled_crop(height=6, width=5)",
    ]
).map(views.parse)


@settings(max_examples=60, deadline=None)
@given(POLICIES, st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 4), st.booleans())
def test_pixels_are_a_function_of_policy_index_and_view(
    policy: views.Views, index: int, view: int, others: int, colored: bool
) -> None:
    """Whatever other samples are in the batch, and whatever random numbers have been drawn."""
    channels = 3 if colored or "color_jitter" in str(policy) else 1
    images = torch.randint(0, 256, (others + 1, channels, 8, 8), dtype=torch.uint8)
    indices = torch.arange(others + 1) + index
    numbers = (torch.arange(others + 1) * 7 + view) % policy.count
    together = policy.render(images, indices, numbers)
    torch.rand(3)
    for place in range(others + 1):
        part = slice(place, place + 1)
        alone = policy.render(images[part], indices[part], numbers[part])
        assert isinstance(together, torch.Tensor)
        assert isinstance(alone, torch.Tensor)
        assert torch.equal(together[part], alone)
    assert str(views.parse(str(policy))) == str(policy)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.integers(0, 10**6), st.integers(1, 2**40))
def test_a_draw_is_in_range_and_the_same_again(seed: int, index: int, epoch: int, count: int) -> None:
    places = torch.tensor([index, index + 1])
    drawn = views.draw(seed, places, epoch, count)
    assert ((drawn >= 0) & (drawn < count)).all()
    assert torch.equal(drawn[:1], views.draw(seed, places[:1], epoch, count))
