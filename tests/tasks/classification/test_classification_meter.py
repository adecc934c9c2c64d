from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Classification
from limbeck.tasks.classification.accuracy import accuracy, confusion, nll
from limbeck.tasks.classification.calibration import calibration, ece
from limbeck.tasks.classification.fidelity import agreement, correlation_difference, divergence
from limbeck.tasks.classification.meter import ClassificationComparison, ClassificationMeter

NAMES = tuple(f"class {number}" for number in range(12))


def answers(seed: int, samples: int = 120, classes: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, classes, generator=generator)
    targets = torch.randint(classes, (samples,), generator=generator)
    targets[::10] = UNLABELED
    return logits, targets


def fed(meter: ClassificationMeter, logits: Tensor, targets: Tensor | None, size: int) -> ClassificationMeter:
    for rows in torch.split(torch.arange(len(logits)), size):
        meter.update(Outputs(logits=logits[rows]), batch(rows, None if targets is None else targets[rows]))
    return meter


def batch(rows: Tensor, targets: Tensor | None) -> Batch:
    return Batch(torch.zeros(len(rows), 1), targets)


def compared(
    comparison: ClassificationComparison, student: Tensor, teacher: Tensor, targets: Tensor | None, size: int
) -> ClassificationComparison:
    for rows in torch.split(torch.arange(len(student)), size):
        ours, theirs = Outputs(logits=student[rows]), Outputs(logits=teacher[rows])
        comparison.update(ours, theirs, batch(rows, None if targets is None else targets[rows]))
    return comparison


@pytest.mark.parametrize("size", [1, 7, 50, 120])
def test_in_any_batches_the_figures_are_those_of_the_functions_to_the_bit(size: int) -> None:
    logits, targets = answers(0)
    held, wanted = answers(1)
    meter = fed(ClassificationMeter(), logits, targets, size)
    labeled = targets != UNLABELED
    rows, classes = logits[labeled], targets[labeled]
    expected = accuracy(rows, classes)
    assert expected.top5 is not None
    assert meter.compute() == {
        "top1": float((rows.argmax(1) == classes).double().mean()),
        "top5": expected.top5.value,
        "macro_f1": pytest.approx(f1_score(classes, rows.argmax(1), average="macro"), rel=1e-12),
        "nll": nll(rows, classes),
        "ece": ece(rows, classes),
    }
    assert list(meter.compute()) == [metric.name for metric in Classification.metrics]
    assert meter.intervals() == {"top1": expected.top1, "top5": expected.top5}
    some = wanted != UNLABELED
    found = Classification(NAMES).measure(meter, fed(ClassificationMeter(), held, wanted, size))
    assert found.accuracy == expected
    assert found.confusion == confusion(rows, classes)
    assert found.nll == nll(rows, classes)
    assert found.calibration == calibration(rows, classes, (held[some], wanted[some]))
    assert found.calibration.temperature is not None
    assert Classification(NAMES).measure(meter, None).calibration == calibration(rows, classes)
    assert meter.notes == ()


def test_top5_needs_ten_classes() -> None:
    meter = fed(ClassificationMeter(), *answers(0, classes=9), 50)
    assert set(meter.compute()) == {"top1", "macro_f1", "nll", "ece"}
    assert set(meter.intervals()) == {"top1"}


def test_quick_counts_alone() -> None:
    logits, targets = answers(0)
    quick, whole = (fed(ClassificationMeter(quick=each), logits, targets, 50) for each in (True, False))
    assert quick.compute() == {name: whole.compute()[name] for name in ("top1", "top5")}
    assert quick.notes == ()
    with pytest.raises(LimbeckError, match="a quick meter keeps no scores"):
        quick.findings(None)


def test_memory_is_bounded_and_what_is_of_a_sample_is_told() -> None:
    logits, targets = answers(0, samples=3000)
    whole = fed(ClassificationMeter(), logits, targets, 100)
    small = fed(ClassificationMeter(bound=12 * 200), logits, targets, 100)
    assert small.notes == ("Calibration is measured on a random sample of 200 of the 2,700 labeled samples.",)
    exact, found = whole.compute(), small.compute()
    for counted in ("top1", "top5", "macro_f1"):
        assert found[counted] == exact[counted]
    assert found["nll"] == pytest.approx(exact["nll"], rel=1e-12), "a sum over the batches"
    assert found["ece"] != exact["ece"]
    assert found["ece"] == pytest.approx(exact["ece"], abs=0.1)
    assert sum(each.samples for each in small.findings(None).calibration.bins) == 200
    assert small.findings(None).confusion == whole.findings(None).confusion
    again = fed(ClassificationMeter(bound=12 * 200), logits, targets, 371)
    assert again.findings(None).calibration == small.findings(None).calibration, "in any batches"


def test_scores_beyond_the_bound_are_not_held() -> None:
    held = []
    meter = ClassificationMeter(bound=12 * 50)
    assert meter._scores is not None
    for _ in range(40):
        logits, targets = answers(0, samples=50)
        fed(meter, logits, targets, 50)
        held.append(sum(scores.numel() for scores, *_ in meter._scores._parts))
    assert max(held) <= 2 * 12 * 50


@pytest.mark.parametrize("targets", [None, torch.tensor([UNLABELED, UNLABELED])])
def test_without_a_label_is_an_error(targets: Tensor | None) -> None:
    meter = fed(ClassificationMeter(), torch.zeros(2, 3), targets, 2)
    for ask in (meter.compute, meter.intervals, lambda: meter.findings(None)):
        with pytest.raises(
            LimbeckError, match="none of the 2 samples has a label, and accuracy needs labels"
        ):
            ask()
    assert meter.notes == ()


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_label_that_is_no_class_is_named(wrong: int) -> None:
    with pytest.raises(LimbeckError, match=f"target {wrong} is no class of a network with 3 logits"):
        fed(ClassificationMeter(), torch.zeros(2, 3), torch.tensor([0, wrong]), 2)


def test_a_diverged_network_has_no_figures_that_look_sound() -> None:
    found = fed(ClassificationMeter(), torch.full((4, 3), math.nan), torch.zeros(4).long(), 4).compute()
    assert math.isnan(found["nll"])
    assert math.isnan(found["ece"])


@pytest.mark.parametrize("size", [1, 7, 50, 120])
def test_in_any_batches_a_comparison_is_that_of_the_functions_to_the_bit(size: int) -> None:
    student, targets = answers(0)
    teacher = student + answers(1)[0]
    found = compared(ClassificationComparison(NAMES), student, teacher, targets, size).compute()
    difference = correlation_difference(student, teacher)
    assert found.agreement == agreement(student, teacher)
    assert found.distance == divergence(student, teacher)
    assert found.correlation.difference == float(difference.abs().mean())
    assert found.correlation.matrix == tuple(map(tuple, difference.tolist()))


@pytest.mark.parametrize("size", [1, 7, 120])
def test_examples_are_what_the_teacher_alone_gets_right_the_surest_first(size: int) -> None:
    student, targets = answers(0)
    teacher = torch.nn.functional.one_hot(targets.clamp(0), 12).float()
    teacher[5] = student[5]
    found = compared(ClassificationComparison(NAMES), student, teacher, targets, size).compute().examples
    sure = student.double().softmax(1).amax(1)
    missed = [
        row
        for row in range(120)
        if teacher[row].argmax() == targets[row] and student[row].argmax() != targets[row]
    ]
    wanted = sorted(missed, key=lambda row: -float(sure[row]))[:12]
    assert [each.index for each in found] == wanted
    first = wanted[0]
    assert found[0].target == found[0].teacher == NAMES[int(targets[first])]
    assert found[0].student == NAMES[int(student[first].argmax())]


def test_equally_sure_examples_come_in_the_order_of_the_samples() -> None:
    student, teacher = torch.eye(3)[[1] * 20], torch.eye(3)[[0] * 20]
    targets = torch.zeros(20).long()
    for size in (3, 20):
        found = compared(ClassificationComparison("abc"), student, teacher, targets, size).compute()
        assert [each.index for each in found.examples] == list(range(12))


def test_an_answer_beyond_the_names_is_a_number() -> None:
    student, teacher = torch.eye(4)[[3]].repeat(2, 1), torch.eye(4)[[0]].repeat(2, 1)
    found = compared(ClassificationComparison("ab"), student, teacher, torch.zeros(2).long(), 2).compute()
    assert (found.examples[0].student, found.examples[0].teacher) == ("3", "a")


def test_without_labels_there_is_agreement_and_no_example() -> None:
    student, teacher = answers(0)[0], answers(1)[0]
    found = compared(ClassificationComparison(NAMES), student, teacher, None, 50).compute()
    assert found.agreement == agreement(student, teacher)
    assert found.examples == ()


def test_a_comparison_of_more_than_the_bound_holds() -> None:
    student, targets = answers(0, samples=3000)
    teacher = student + answers(1, samples=3000)[0]
    whole = compared(ClassificationComparison(NAMES), student, teacher, targets, 100).compute()
    small = compared(ClassificationComparison(NAMES, bound=24 * 200), student, teacher, targets, 100)
    found = small.compute()
    assert small.notes == (
        "The correlation of classes is measured on a random sample of 200 of the 3,000 samples.",
    )
    assert (found.agreement, found.examples) == (whole.agreement, whole.examples)
    assert found.distance == pytest.approx(whole.distance, rel=1e-12)
    assert found.correlation != whole.correlation


def test_the_correlation_matrix_is_kept_of_few_classes() -> None:
    for classes, kept in ((20, True), (21, False)):
        student, teacher = (answers(seed, 30, classes)[0] for seed in (0, 1))
        found = compared(ClassificationComparison(()), student, teacher, None, 30).compute()
        assert (found.correlation.matrix is not None) == kept
