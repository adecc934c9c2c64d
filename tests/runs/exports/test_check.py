from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from limbeck.data import Split
from limbeck.data.storage.base import Resident
from limbeck.outputs import Inputs
from limbeck.runs.exports.check import CheckError, check
from limbeck.tasks import Classification, Segmentation

TASK = Classification(("a", "b", "c"))


def rows(count: int) -> Split:
    """Rows of 3 features, of which the first is always the largest by 1 at least."""
    inputs = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    inputs[:, 0] += 2
    return Split.whole(Resident(inputs), torch.zeros(count, dtype=torch.int64))


def changed(change: Callable[[Tensor], Tensor]) -> Callable[[Inputs], Tensor]:
    """The answers of a network that gives back its inputs, changed."""

    def answer(inputs: Inputs) -> Tensor:
        assert isinstance(inputs, Tensor)
        return change(inputs.clone())

    return answer


@pytest.mark.parametrize(
    ("count", "batches"),
    [(1, (1,)), (2, (1,)), (20, (1, 2, 17)), (35, (1, 2, 32)), (1100, (1, 2, 32, 512, 41))],
)
def test_every_sample_is_compared_once_in_batches_of_several_sizes(
    count: int, batches: tuple[int, ...]
) -> None:
    seen: list[Tensor] = []
    split = rows(count)
    found = check(nn.Identity(), changed(lambda logits: seen.append(logits) or logits), split, TASK)  # type: ignore[func-returns-value]
    assert isinstance(split.samples, Resident)
    assert torch.equal(torch.cat(seen), split.samples.inputs)  # type: ignore[arg-type]
    assert (found.samples, found.batches, found.difference) == (count, batches, 0.0)


def test_no_sample_is_skipped_where_the_memory_holds_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resident, "most", 7)
    found = check(nn.Identity(), changed(lambda logits: logits), rows(20), TASK)
    assert (found.samples, found.batches) == (20, (1, 2, 7, 3))


def test_float_noise_passes_and_is_told() -> None:
    found = check(nn.Identity(), changed(lambda logits: logits + 1e-4), rows(40), TASK)
    assert found.difference == pytest.approx(1e-4, rel=0.01)
    assert found.summary("the test split of digits") == (
        "read back, it agrees with the student on 40 samples of the test split of digits in batches of 1, 2, "
        "32, 5: all decisions are the same, and outputs differ by 1.0e-04 at most"
    )


def flip_one(logits: Tensor) -> Tensor:
    if len(logits) == 32:
        logits[7] = logits[7].flip(0)
    return logits


def poison_one(logits: Tensor) -> Tensor:
    logits[0, 2] = math.nan
    return logits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip_one, r"1 of 40 decisions differ, and outputs of up to 3 differ by 2\.\de\+00"),
        (
            lambda logits: logits * 1.01,
            r"0 of 40 decisions differ, and outputs .* differ by 3\.0e-02",
        ),
        (poison_one, "differ by nan"),
        (lambda logits: logits[:, :2], r"its outputs are \(1, 2\) and not \(1, 3\)"),
    ],
)
def test_what_differs_is_refused(change: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(
        CheckError, match=f"the file does not answer as the student and was not kept: .*{message}"
    ):
        check(nn.Identity(), changed(change), rows(40), TASK)


def test_a_tie_that_is_broken_the_other_way_is_another_class() -> None:
    tied = Split.whole(Resident(torch.ones(3, 2)), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(CheckError, match="3 of 3 decisions differ"):
        check(
            nn.Identity(),
            changed(lambda logits: logits + torch.tensor([0, 1e-6])),
            tied,
            Classification(("a", "b")),
        )


def test_of_very_many_pixels_a_tie_may_be_broken_the_other_way() -> None:
    class Pixels(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([images, images + 0.5], 1)

    maps = torch.zeros(1, 400, 500, dtype=torch.uint8)
    images = torch.zeros(1, 1, 400, 500)
    split, task = Split.whole(Resident(images), maps, Segmentation), Segmentation(("a", "b"))

    def other(count: int) -> Callable[[Inputs], Tensor]:
        def answer(inputs: Inputs) -> Tensor:
            assert isinstance(inputs, Tensor)
            logits: Tensor = Pixels()(inputs)
            logits[0, 0, 0, :count] = 0.5004
            return logits

        return answer

    found = check(Pixels(), other(2), split, task, tolerance=2)
    assert found.ties == 2
    assert "all decisions but 2, ties up to float noise, are the same" in found.summary("the test split")
    with pytest.raises(CheckError, match="3 of 200,000 decisions differ"):
        check(Pixels(), other(3), split, task, tolerance=2)


def test_of_values_nothing_is_a_decision() -> None:
    class Amounts(Classification):
        scores = "values"

    tied = Split.whole(Resident(torch.ones(3, 2)), torch.zeros(3, dtype=torch.int64))
    other = changed(lambda values: values + torch.tensor([0, 1e-6]))
    found = check(nn.Identity(), other, tied, Amounts(("a", "b")))
    assert found.difference == pytest.approx(1e-6, rel=0.1)
    assert found.summary("the test split").endswith(": outputs differ by 9.5e-07 at most")
    with pytest.raises(CheckError, match=r"was not kept: outputs of up to 1 differ by 1.0e-02"):
        check(nn.Identity(), changed(lambda values: values + 0.01), tied, Amounts(("a", "b")))
