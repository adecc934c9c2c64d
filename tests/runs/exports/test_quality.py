from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from limbeck import data
from limbeck.data import Source
from limbeck.data.preparation import AS_RENDERED
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs
from limbeck.runs.exports import quality
from limbeck.runs.exports.quality import BATCH, Drop, FromFile, allowed, drop, measured
from limbeck.runs.exports.quantization import Figures, SplitName
from limbeck.tasks import Classification, Regression

TASK = Classification(("a", "b", "c"))
TOP1, RMSE = TASK.primary, Regression.metrics[0]


def source(*, validation: int = 40) -> Source:
    """Rows of 3 features, of which the largest is that of the class."""
    draw = torch.Generator().manual_seed(0)

    def split(count: int) -> tuple[Tensor, Tensor]:
        inputs = torch.rand(count, 3, generator=draw)
        return inputs, inputs.argmax(1)

    inputs, targets = split(60)
    held = split(validation) if validation else None
    return data.from_tensors(inputs, targets, validation=held, test=split(20), num_classes=3, kind="other")


def changed(change: Callable[[Tensor], Tensor]) -> nn.Module:
    """A file that gives back its inputs, changed."""

    def answer(inputs: Inputs) -> Tensor:
        assert isinstance(inputs, Tensor)
        return change(inputs.clone())

    return FromFile(answer)


def turned(logits: Tensor) -> Tensor:
    """The first of each batch is decided otherwise."""
    logits[0] = logits[0].roll(1)
    return logits


def test_both_files_are_measured_on_validation_and_test() -> None:
    sizes: list[int] = []
    before = changed(lambda logits: sizes.append(len(logits)) or logits)  # type: ignore[func-returns-value]
    found = measured(source(), before, changed(turned), AS_RENDERED)
    assert {name: each.samples for name, each in found.items()} == {"validation": 40, "test": 20}
    assert sizes == [BATCH, 40 - BATCH, 20]
    assert found["validation"].before["top1"] == found["test"].before["top1"] == 1
    assert found["validation"].after["top1"] == found["validation"].agreement == 38 / 40
    assert found["test"].after["top1"] == found["test"].agreement == 19 / 20
    assert found["validation"].distance > 0


def test_training_samples_decide_where_nothing_was_held_out() -> None:
    found = measured(source(validation=0), changed(torch.clone), changed(turned), AS_RENDERED)
    decides = drop(TASK, found, "rows", "auto")
    assert decides is not None
    assert (decides.split, decides.after) == ("training", 58 / 60)
    assert "test" in found


def test_of_a_large_split_some_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "MOST", 10)
    found = measured(source(), changed(torch.clone), changed(torch.clone), AS_RENDERED)
    assert [each.samples for each in found.values()] == [10, 10]


def figures(before: float | None, after: float | None) -> dict[SplitName, Figures]:
    first, second = ({} if value is None else {"top1": value} for value in (before, after))
    return {
        "validation": Figures(samples=100, before=first, after=second, agreement=1.0, distance=0.0),
        "test": Figures(samples=100, before={"top1": 1.0}, after={"top1": 0.0}, agreement=0.0, distance=1.0),
    }


@pytest.mark.parametrize(
    ("after", "limit", "too_large"),
    [
        (0.97, 1.0, False),  # 0.98 - 0.97 is a little more than 0.01
        (0.97, 0.99, True),
        (0.99, 0.0, False),
        (0.98, 0.0, False),
        (math.nan, 100.0, True),
    ],
)
def test_a_drop_above_the_limit_is_too_large(after: float, limit: float, too_large: bool) -> None:
    found = drop(TASK, figures(0.98, after), "rows", limit)
    assert found is not None
    assert found.too_large is too_large


def test_a_metric_that_should_be_low_gets_worse_upward() -> None:
    assert Drop(RMSE, "validation", 10.0, 10.5, 1.0).loss == 0.5
    assert Drop(RMSE, "validation", 10.0, 9.5, 1.0).loss == -0.5
    assert Drop(TOP1, "validation", 0.5, 0.4, 1.0).loss == 10


def test_what_is_allowed_unless_it_is_said() -> None:
    assert allowed(TOP1, 0.4) == 1
    assert allowed(RMSE, 40.0) == 0.4
    found = drop(TASK, figures(0.98, 0.9), "rows", "auto")
    assert found is not None
    assert found.limit == 1
    assert drop(TASK, figures(0.98, 0.9), "rows", None) is None


def test_the_drop_is_told() -> None:
    told = {
        Drop(
            TOP1, "validation", 0.98, 0.9755, 1.0
        ): "top-1 on the validation split of rows is 98.00 % before "
        "and 97.55 % after quantization; max_drop (--max-drop) lets it get worse by 1 point at most",
        Drop(TOP1, "training", 0.98, 0.97, 0.25): "top-1 on the training split of rows is 98.00 % before "
        "and 97.00 % after quantization; max_drop (--max-drop) lets it get worse by 0.25 points at most",
        Drop(RMSE, "validation", 66.0, 67.5, 0.66): "RMSE on the validation split of rows is 66.00 before "
        "and 67.50 after quantization; max_drop (--max-drop) lets it get worse by 0.66 at most",
    }
    for found, sentence in told.items():
        assert found.summary("rows").replace("\N{NO-BREAK SPACE}", " ") == sentence


@pytest.mark.parametrize("missing", [(None, 0.9), (0.9, None), (None, None)])
def test_what_cannot_be_measured_decides_nothing(missing: tuple[float | None, float | None]) -> None:
    with pytest.raises(
        LimbeckError, match=r"no loss of top-1 can be measured on .* split of rows, .*lack lab"
    ):
        drop(TASK, figures(*missing), "rows", "auto")
    assert drop(TASK, figures(*missing), "rows", None) is None
