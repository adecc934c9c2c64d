"""Measuring networks that give labels, against torchmetrics, scikit-learn and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_f1_score,
    multilabel_hamming_distance,
)

from limbeck import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Multilabel
from limbeck.tasks.multilabel.findings import MultilabelFindings
from limbeck.tasks.multilabel.meter import MultilabelMeter

LABELS = Multilabel(("cat", "dog", "bird", "fish"))


def drawn(count: int, seed: int = 0, *, unknown: float = 0.0) -> tuple[Tensor, Tensor]:
    """Logits and targets that have something to do with each other."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 4, generator=generator) - 1
    noise = 2 * torch.randn(count, 4, generator=generator)
    targets = (logits + noise > 0).long()
    return logits, targets.where(torch.rand(count, 4, generator=generator) >= unknown, UNLABELED)


def batches(logits: Tensor, targets: Tensor, size: int = 17) -> Iterator[tuple[Outputs, Batch]]:
    for start in range(0, len(targets), size):
        some, wanted = logits[start : start + size], targets[start : start + size]
        yield Outputs(logits=some), Batch(torch.zeros(len(some), 1), wanted)


def measured(logits: Tensor, targets: Tensor, size: int = 17) -> MultilabelMeter:
    meter = LABELS.meter()
    for outputs, batch in batches(logits, targets, size):
        meter.update(outputs, batch)
    return meter


def test_metrics_are_those_of_torchmetrics() -> None:
    logits, targets = drawn(200)
    found = measured(logits, targets).compute()
    assert list(found) == [metric.name for metric in LABELS.metrics]
    scores = logits.sigmoid()
    expected = {
        "map": multilabel_average_precision(scores, targets, 4),
        "macro_f1": multilabel_f1_score(scores, targets, 4),
        "micro_f1": multilabel_f1_score(scores, targets, 4, average="micro"),
        "hamming": multilabel_hamming_distance(scores, targets, 4, average="micro"),
        "nll": F.binary_cross_entropy_with_logits(logits, targets.float()),
    }
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)


def test_what_is_not_known_does_not_count() -> None:
    logits, targets = drawn(200, unknown=0.3)
    targets[:5] = UNLABELED
    found = measured(logits, targets).compute()
    known = targets != UNLABELED
    each = [(logits[known[:, i], i], targets[known[:, i], i]) for i in range(4)]
    precisions = [average_precision_score(y, z) for z, y in each]
    scores = [f1_score(y, z > 0) for z, y in each]
    assert found["map"] == pytest.approx(sum(precisions) / 4, rel=1e-12)
    assert found["macro_f1"] == pytest.approx(sum(scores) / 4, rel=1e-12)
    assert found["micro_f1"] == pytest.approx(f1_score(targets[known], logits[known] > 0), rel=1e-12)
    assert found["hamming"] == pytest.approx(float(((logits > 0) != targets.bool())[known].double().mean()))
    loss = F.binary_cross_entropy_with_logits(logits[known].double(), targets[known].double())
    assert found["nll"] == pytest.approx(float(loss), rel=1e-12)


def test_by_hand() -> None:
    task = Multilabel(("a", "b", "c"))
    meter = task.meter()
    # a: hit, miss, false alarm; b: never applies, and is given once; c: never applies and is never given
    logits = torch.tensor([[2.0, 1.0, -1.0], [-1.0, -2.0, -1.0], [1.0, -1.0, -1.0]])
    targets = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 0]])
    meter.update(Outputs(logits=logits), Batch(logits, targets))
    found = meter.compute()
    assert found["map"] == pytest.approx((1 + 2 / 3) / 2), "of a alone: nothing shows how b and c are ranked"
    assert found["macro_f1"] == pytest.approx((0.5 + 0) / 2), "c has none"
    assert found["micro_f1"] == pytest.approx(2 / (2 + 1 + 2))
    assert found["hamming"] == pytest.approx(3 / 9)


def test_batches_of_any_size_come_to_the_same() -> None:
    logits, targets = drawn(200, unknown=0.2)
    whole = measured(logits, targets, 200).findings(None)
    parts = measured(logits, targets, 7).findings(None)
    assert parts.nll == pytest.approx(whole.nll, rel=1e-12)
    assert parts.model_dump(exclude={"nll"}) == whole.model_dump(exclude={"nll"})


def test_thresholds_are_chosen_on_the_validation_split() -> None:
    logits, targets = drawn(300, 1)
    logits = logits - 2  # too shy: a lower threshold is better
    validation = measured(logits[:150], targets[:150])
    meter = measured(logits[150:], targets[150:])
    found = LABELS.measure(meter, validation)
    assert isinstance(found, MultilabelFindings)
    scores, wanted = logits.double().sigmoid(), targets[150:]
    for place, label in enumerate(found.labels):
        own = [f1_score(targets[:150, place], scores[:150, place] > t) for t in scores[:150, place]]
        assert f1_score(targets[:150, place], scores[:150, place] > label.threshold) >= max(own)
        assert label.threshold < 0.45
        assert label.f1 == pytest.approx(f1_score(wanted[:, place], scores[150:, place] > label.threshold))
        assert label.f1_at_half == pytest.approx(f1_score(wanted[:, place], scores[150:, place] > 0.5))
        assert (label.known, label.positives) == (150, int(wanted[:, place].sum()))
    given = scores[150:] > torch.tensor([label.threshold for label in found.labels], dtype=torch.float64)
    assert found.at_thresholds.model_dump() == pytest.approx(
        {
            "macro_f1": f1_score(wanted, given, average="macro"),
            "micro_f1": f1_score(wanted, given, average="micro"),
            "hamming": float((given != wanted.bool()).double().mean()),
        }
    )
    metrics = meter.compute()
    assert found.at_half.model_dump() == {name: metrics[name] for name in ("macro_f1", "micro_f1", "hamming")}
    assert found.at_thresholds.macro_f1 > metrics["macro_f1"] + 0.1
    assert (found.map, found.nll) == (metrics["map"], metrics["nll"])


def test_without_validation_labels_the_thresholds_are_one_half() -> None:
    meter = measured(*drawn(50))
    unlabeled = measured(torch.zeros(5, 4), torch.full((5, 4), UNLABELED))
    never = measured(torch.zeros(5, 4), torch.zeros(5, 4, dtype=torch.int64))
    for validation in (None, unlabeled, never):
        found = LABELS.measure(meter, validation)
        assert [label.threshold for label in found.labels] == [0.5] * 4
        assert found.shipped == {"thresholds": [0.5] * 4}
        assert found.at_thresholds == found.at_half


def test_findings_are_read_back_from_json() -> None:
    found = measured(*drawn(50)).findings(None)
    assert MultilabelFindings.model_validate(json.loads(found.model_dump_json())) == found


@pytest.mark.parametrize(
    "targets", [None, torch.empty(3, 0, dtype=torch.int64), torch.full((3, 4), UNLABELED)]
)
def test_without_a_label_nothing_can_be_measured(targets: Tensor | None) -> None:
    meter = LABELS.meter(quick=True)
    meter.update(Outputs(logits=torch.zeros(3, 4)), Batch(torch.zeros(3, 1), targets))
    with pytest.raises(
        LimbeckError, match="no label of the 3 samples is known, and average precision needs lab"
    ):
        meter.compute()


def test_without_a_label_that_applies_there_is_no_average_precision() -> None:
    meter = measured(torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(LimbeckError, match="no label applies to any of the 3 samples, and average precision"):
        meter.compute()


def test_beyond_the_bound_the_order_is_that_of_a_sample_and_the_counts_are_of_all() -> None:
    logits, targets = drawn(2000)
    whole = measured(logits, targets)
    meter = MultilabelMeter(bound=400 * 4)
    for outputs, batch in batches(logits, targets):
        meter.update(outputs, batch)
    found, expected = meter.compute(), whole.compute()
    assert found["map"] == pytest.approx(expected["map"], abs=0.05)
    assert found["map"] != expected["map"]
    for name in ("macro_f1", "micro_f1", "hamming", "nll"):
        assert found[name] == expected[name]
    assert whole.notes == ()
    assert meter.notes == (
        "Average precisions and thresholds are measured on a random sample of 400 of the 2,000 labeled "
        "samples.",
    )


def test_agreement_and_distance_of_student_and_teacher() -> None:
    ours, targets = drawn(60)
    theirs, _ = drawn(60, 5)
    comparison = LABELS.comparison()
    for places in torch.arange(60).tensor_split(5):
        comparison.update(
            Outputs(logits=ours[places]), Outputs(logits=theirs[places]), Batch(ours[places], targets[places])
        )
    found = comparison.compute()
    assert found.agreement == pytest.approx(float(((ours > 0) == (theirs > 0)).double().mean()))
    expected = kl_divergence(Bernoulli(logits=theirs.double()), Bernoulli(logits=ours.double())).mean()
    assert found.distance == pytest.approx(float(expected), rel=1e-9)
    assert LABELS.distance == "mean KL(teacher, student) of a label's Bernoulli distribution in nats"


def test_examples_are_the_samples_that_the_teacher_gets_right_and_the_student_wrong() -> None:
    targets = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, UNLABELED], [0, 1, 0, 0]])
    right = torch.where(targets == 1, 2.0, -2.0)
    student = right.clone()
    student[0, :2], student[1, 3], student[2, 3] = -1.0, 5.0, 5.0  # wrong twice; surely wrong; nobody knows
    comparison = LABELS.comparison()
    comparison.update(Outputs(logits=right), Outputs(logits=right), Batch(right, targets))
    comparison.update(Outputs(logits=student), Outputs(logits=right), Batch(right, targets))
    comparison.update(Outputs(logits=right), Outputs(logits=student), Batch(right, targets))
    comparison.update(Outputs(logits=right), Outputs(logits=right), Batch(right))
    found = [(each.index, each.target, each.student, each.teacher) for each in comparison.compute().examples]
    assert found == [(5, "no label", "fish", "no label"), (4, "cat, dog", "no label", "cat, dog")]
