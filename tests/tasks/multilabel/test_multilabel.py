"""Multi-label classification: targets, and rows of (sample, label) pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import LimbeckError, losses
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Multilabel, from_record, named

LABELS = Multilabel(("cat", "dog", "bird"))


def samples(count: int = 7) -> tuple[Tensor, Tensor]:
    """Logits and targets, one of which is not known."""
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(2, (count, 3), generator=generator)
    targets[1, 2] = UNLABELED
    return logits, targets


def test_it_is_in_the_table_and_its_record_makes_it_again() -> None:
    assert named("multilabel") is Multilabel
    assert LABELS.record() == {"name": "multilabel", "names": ("cat", "dog", "bird")}
    assert from_record({"name": "multilabel", "names": ["cat", "dog", "bird"]}) == LABELS
    assert (LABELS.width, LABELS.columns, LABELS.primary.name) == (3, 2, "map")
    assert (LABELS.summary, Multilabel(("spam",)).summary) == ("3 labels", "1 label")
    assert LABELS.identity == "multilabel 3"


def test_names_come_from_the_user_or_are_numbers() -> None:
    _, targets = samples()
    none = torch.empty(7, 0, dtype=torch.int64)
    assert Multilabel.of(None, None, targets).names == ("0", "1", "2")
    assert Multilabel.of(["a", "b", "c"], 3, targets).names == ("a", "b", "c")
    assert Multilabel.of(None, 2, none).names == ("0", "1")
    with pytest.raises(LimbeckError, match="not 2 names, 3 target columns"):
        Multilabel.of(["a", "b"], None, targets)
    with pytest.raises(LimbeckError, match="not 4 outputs, 3 target columns"):
        Multilabel.of(None, 4, targets)
    with pytest.raises(LimbeckError, match="no training sample has a label, so their number is unknown"):
        Multilabel.of(None, None, none)
    with pytest.raises(LimbeckError, match="not 0 names"):
        Multilabel.of([], 3, targets)


@pytest.mark.parametrize(
    "given",
    [
        [[1, 0], [0, 0]],
        torch.tensor([[True, False], [False, False]]),
        np.array([[1.0, 0.0], [0.0, 0.0]]),
        torch.tensor([[1, 0], [0, 0]], dtype=torch.uint8),
    ],
)
def test_zeros_and_ones_of_any_type_are_targets(given: Any) -> None:
    targets = Multilabel.as_targets(given, 2, "training")
    assert targets.dtype == torch.int64
    assert targets.tolist() == [[1, 0], [0, 0]]


def test_no_targets_are_targets_without_columns() -> None:
    targets = Multilabel.as_targets(None, 2, "training")
    assert (targets.dtype, targets.shape) == (torch.int64, (2, 0))
    assert Multilabel.labeled(targets).tolist() == [False, False]
    assert Multilabel.strata(targets).tolist() == [UNLABELED] * 2
    assert LABELS.counts(targets) == (0, 0, 0)
    LABELS.check(targets, "training")
    LABELS.check_batch(targets, 2)
    rows = LABELS.rows(Batch(torch.rand(2, 4), targets), Outputs())
    assert rows.targets is not None
    assert rows.targets.tolist() == [UNLABELED] * 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 0], [0, 0.5]], "the test target 0.5 of sample 1, label 1, should be 0 or 1, or -100"),
        (
            [[1.0, float("nan")], [0, 0]],
            "the test target nan of sample 0, label 1, should be 0 or 1, or -100",
        ),
        ([1, 0], r"\(N, L\), not torch.int64 of shape \(2,\); class ids are for the task classification"),
        ([["a", "b"], ["c", "d"]], r"the test targets should be 0 or 1 for each label, \(N, L\): "),
        ([[1, 0]], "there are 2 test inputs but 1 targets"),
    ],
)
def test_other_targets_are_refused(given: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        Multilabel.as_targets(given, 2, "test")


def test_a_value_that_is_no_target_is_named_with_its_sample_and_label() -> None:
    LABELS.check(torch.tensor([[0, 1, UNLABELED]]), "training")
    with pytest.raises(LimbeckError) as caught:
        LABELS.check(torch.tensor([[0, 1, 0], [0, 2, 0]]), "training")
    assert str(caught.value) == (
        "the training target 2 of sample 1, label 'dog', should be 0 or 1, or -100 where nobody knows"
    )
    with pytest.raises(LimbeckError, match="the test targets have 2 labels, not 3"):
        LABELS.check(torch.tensor([[0, 1]]), "test")


@pytest.mark.parametrize(
    "targets", [torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int64)]
)
def test_a_batch_of_other_targets_is_refused(targets: Tensor) -> None:
    LABELS.check_batch(torch.zeros(4, 3, dtype=torch.int64), 4)
    with pytest.raises(LimbeckError, match=r"a batch of 4 must be int64 of shape \(4, 3\), not "):
        LABELS.check_batch(targets, 4)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 3, 1)])
def test_outputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    LABELS.check_outputs(torch.zeros(4, 3), "student")
    with pytest.raises(
        LimbeckError, match=r"the logits of the student .* one logit for each label, \(B, 3\)"
    ):
        LABELS.check_outputs(torch.zeros(shape), "student")


def test_a_stratum_is_the_rarest_label_that_applies() -> None:
    targets = torch.tensor(
        [[1, 0, 1], [0, 0, 0], [UNLABELED] * 3, [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 0, UNLABELED]]
    )
    assert LABELS.counts(targets) == (3, 2, 4)
    assert Multilabel.strata(targets).tolist() == [0, 3, UNLABELED, 1, 1, 2, 0]
    assert Multilabel.labeled(targets).tolist() == [True, True, False, True, True, True, True]


def test_a_row_is_a_sample_with_a_label() -> None:
    logits, targets = samples(2)
    batch, outputs = Batch(torch.rand(2, 4), targets), Outputs(logits=logits, embedding=torch.rand(2, 5))
    rows = LABELS.rows(batch, outputs)
    assert rows.count == 6
    assert rows.sample is not None
    assert rows.sample.tolist() == [0, 0, 0, 1, 1, 1]
    assert rows.targets is not None
    assert rows.targets.tolist() == targets.flatten().tolist()
    flat = rows.of(outputs)
    assert flat.logits.tolist() == [[0, z] for z in logits.flatten().tolist()]
    assert flat.embedding is outputs.embedding, "a sample's rows share one"
    assert torch.equal(rows.decisions(logits), flat.logits)
    assert LABELS.rows(Batch(torch.rand(2, 4)), outputs).targets is None
    named_inputs = Batch({"x": torch.rand(2, 4)}, targets)
    assert LABELS.rows(named_inputs, outputs).count == 6


def test_cross_entropy_of_the_rows_is_the_binary_one() -> None:
    logits, targets = samples()
    batch, outputs = Batch(logits, targets), Outputs(logits=logits)
    rows = LABELS.rows(batch, outputs)
    assert rows.targets is not None
    found = losses.cross_entropy(rows.of(outputs).logits, rows.targets, reduction="none").view(7, 3)
    expected = F.binary_cross_entropy_with_logits(logits, targets.clamp(min=0).double(), reduction="none")
    known = targets != UNLABELED
    torch.testing.assert_close(found[known], expected[known], rtol=1e-12, atol=0)
    assert found[~known].tolist() == [0]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_kd_of_the_rows_is_the_divergence_of_bernoulli_distributions(temperature: float) -> None:
    ours, _ = samples()
    theirs = ours.flip(0) * 1.5
    rows = LABELS.rows(Batch(ours), Outputs(logits=ours))
    found = losses.kd(rows.logits(ours), rows.logits(theirs), temperature)
    p, q = (theirs / temperature).sigmoid(), (ours / temperature).sigmoid()
    divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(found, temperature**2 * divergence.mean(), rtol=1e-12, atol=0)


def test_it_has_a_recipe_with_a_teacher_and_without() -> None:
    assert LABELS.recipe(teacher=True) == "0.5*ce + 0.5*kd(temperature=2)"
    assert LABELS.recipe(teacher=False) == "ce"


def test_there_is_a_label() -> None:
    with pytest.raises(LimbeckError, match="there should be at least 1 label"):
        Multilabel(())
