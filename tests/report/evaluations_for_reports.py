"""Evaluations as limbeck writes them, with figures that can be followed by hand."""

from __future__ import annotations

from limbeck.evaluation import results
from limbeck.tasks import Example
from limbeck.tasks.classification.calibration import Bin, Calibration
from limbeck.tasks.classification.findings import (
    Accuracy,
    ClassificationAgreement,
    ClassificationFindings,
    Confusion,
    Correlation,
    Pair,
)
from limbeck.tasks.parts.rates import Rate


def rate(right: int, samples: int) -> Rate:
    """A share with an interval of five points to each side."""
    value = right / samples
    return Rate(value=value, low=max(value - 0.05, 0), high=min(value + 0.05, 1), samples=samples)


def network(wrong: int, *, classes: int = 10, size: int = 650, full: bool = True) -> results.NetworkResult:
    """36 samples a class, of which class c is taken `wrong + c % 3` times for the next class."""
    missed = [min(wrong + label % 3, 36) for label in range(classes)]
    matrix = [[0] * classes for _ in range(classes)]
    for label, count in enumerate(missed):
        matrix[label][label] = 36 - count
        matrix[label][(label + 1) % classes] += count
    right = sum(36 - count for count in missed)
    worst = sorted((count, label) for label, count in enumerate(missed) if count)[::-1][:10]
    confidences = [0.3 + 0.7 * (at + 0.5) / 15 for at in range(15)]
    accuracy = right / (36 * classes)
    top1 = rate(right, 36 * classes)
    findings = ClassificationFindings(
        accuracy=Accuracy(top1=top1, top5=None, per_class=tuple(rate(36 - count, 36) for count in missed)),
        nll=0.5,
        calibration=Calibration(
            ece=0.04,
            temperature=1.25,
            ece_after=0.01,
            nll_after=0.42,
            bins=tuple(
                Bin(confidence=each, accuracy=max(each - wrong / 50, 0), samples=24 * classes // 10)
                for each in confidences
            ),
        ),
        confusion=Confusion(
            classes=classes,
            cells=tuple(
                (target, answer, count)
                for target, row in enumerate(matrix)
                for answer, count in enumerate(row)
                if count
            ),
            pairs=tuple(
                Pair(target=label, predicted=(label + 1) % classes, samples=count) for count, label in worst
            ),
        ),
    )
    return results.NetworkResult(
        name="cnn(channels=[4, 8])",
        run=None,
        metrics={"top1": top1.value, "nll": 0.5, "ece": 0.04},
        intervals={"top1": top1},
        findings=findings,
        robustness={
            kind: tuple(accuracy * (1 - severity * slope) for severity in range(1, 6))
            for kind, slope in (("gaussian_noise", 0.15), ("salt_and_pepper", 0.12), ("jpeg", 0.02))
        }
        if full
        else None,
        noiseless=accuracy if full else None,
        cost=results.Cost(
            parameters=size,
            multiply_adds=20 * size,
            bytes=4 * size + 1000,
            peak_bytes=64 * size if full else None,
            latency={
                1: results.Timing(median_ms=size / 4000, p95_ms=size / 3000),
                32: results.Timing(median_ms=size / 1000, p95_ms=size / 900),
            }
            if full
            else None,
            throughput=1e7 / size if full else None,
        ),
    )


def evaluation(*, classes: int = 10, full: bool = True, teacher: bool = True) -> results.Evaluation:
    """The student misses 4, 5 or 6 of 36 samples of a class, its teacher 0, 1 or 2, the baseline 9 to 11."""
    networks = {"student": network(4, classes=classes, full=full)}
    if teacher:
        networks["teacher"] = network(0, classes=classes, size=26000, full=full)
        networks["baseline"] = network(9, classes=classes, full=full)
    return results.Evaluation(
        task={"name": "classification", "names": tuple(map(str, range(classes)))},
        suite="full" if full else "quick",
        split="test",
        data=results.Data(name="digits", fingerprint="f" * 16),
        samples=36 * classes,
        device="cpu",
        machine=results.Machine(processor="Z80", threads=1),
        seed=0 if full else None,
        networks=networks,
        agreement=ClassificationAgreement(
            agreement=0.9,
            distance=0.321,
            correlation=Correlation(
                difference=0.05,
                matrix=tuple(
                    tuple(0.0 if row == column else (-1) ** row * 0.05 for column in range(classes))
                    for row in range(classes)
                )
                if classes <= 20
                else None,
            ),
            examples=tuple(
                Example(
                    index=index,
                    target=str(index % classes),
                    student=str((index + 1) % classes),
                    teacher=str(index % classes),
                )
                for index in range(12)
            ),
        )
        if teacher
        else None,
        cka=results.CKA(embedding=0.8, stages=((0.9, 0.4, 0.2), (0.5, 0.8, 0.6)) if full else None)
        if teacher
        else None,
    )
