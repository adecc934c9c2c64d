"""How tokens are drawn: the numbers given decide, and their frequencies are the probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from limbeck import LimbeckError
from limbeck.generation import Drawing, noise

LOGITS = torch.tensor([0.1, 0.2, 0.4, 0.3]).log()


@pytest.mark.parametrize(
    ("given", "token"), [(0.0, 2), (0.39, 2), (0.41, 3), (0.69, 3), (0.71, 1), (0.95, 0)]
)
def test_a_number_falls_into_the_share_of_a_token(given: float, token: int) -> None:
    assert Drawing()(LOGITS, torch.tensor(given)).item() == token


def test_the_most_likely_at_temperature_zero() -> None:
    assert Drawing(temperature=0)(LOGITS.expand(3, 2, 4), torch.rand(3, 2)).tolist() == [[2, 2]] * 3


@pytest.mark.parametrize(
    ("temperature", "top_p", "kept"),
    [
        (1.0, 0.3, 1),
        (1.0, 0.5, 2),
        (1.0, 0.71, 3),
        (1.0, 1.0, 4),
        (0.5, 1.0, 4),
        (2.0, 1.0, 4),
        (0.5, 0.6, 2),
    ],
)
def test_frequencies_are_the_probabilities_of_what_is_kept(
    temperature: float, top_p: float, kept: int
) -> None:
    given = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    tokens = Drawing(temperature, top_p)(LOGITS.double().expand(10_000, 4), given)
    shares = (LOGITS.double() / temperature).softmax(0)
    order = shares.argsort(descending=True)[:kept]
    expected = torch.zeros(4, dtype=torch.float64)
    expected[order] = shares[order] / shares[order].sum()
    torch.testing.assert_close(tokens.bincount(minlength=4).double() / 10_000, expected, rtol=0, atol=2e-4)


def test_the_last_token_can_be_drawn() -> None:
    flat = torch.zeros(1, 3)
    assert Drawing()(flat, torch.tensor([1 - 2**-53], dtype=torch.float64)).item() == 2


@pytest.mark.parametrize(
    "changes", [{"temperature": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_p": math.nan}]
)
def test_what_is_no_way_to_draw(changes: dict[str, float]) -> None:
    with pytest.raises(LimbeckError, match=r"^tokens are drawn at a temperature of at least 0 with 0 < top"):
        Drawing(**changes)


def test_noise_is_a_function_of_its_arguments() -> None:
    samples, places = torch.arange(4), torch.arange(6).expand(4, 6)
    whole = noise(1, 2, 0, samples, places)
    assert torch.equal(noise(1, 2, 0, samples[2:], places[2:, :3]), whole[2:, :3])
    assert torch.equal(noise(1, 2, 0, samples, places[:, 4]), whole[:, 4])
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        assert not torch.equal(noise(*other, samples, places), whole)
    many = noise(0, 0, 0, torch.arange(1000), torch.arange(100).expand(1000, 100))
    assert many.min() >= 0
    assert many.max() < 1
    assert many.mean().item() == pytest.approx(0.5, abs=5e-3)
    assert many.var().item() == pytest.approx(1 / 12, abs=2e-3)
