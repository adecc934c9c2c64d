from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck.tasks.classification.accuracy import Counts, accuracy, confusion, nll
from limbeck.tasks.parts.rates import wilson


def random_predictions(n: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


def test_a_diverged_network_has_no_figure_that_looks_sound() -> None:
    assert math.isnan(nll(torch.full((4, 3), math.nan), torch.zeros(4, dtype=torch.long)))


def test_nll_by_hand() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1]]).log()
    by_hand = -(math.log(0.7) + math.log(0.4) + math.log(0.4)) / 3
    assert nll(logits, torch.tensor([0, 2, 1])) == pytest.approx(by_hand)


def test_counts_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "limbeck.tasks.classification.accuracy.PENDING", 30
    )  # so that some are counted on the way
    logits, targets = random_predictions(200, 12)
    for size in (1, 7, 64, 200):
        counts = Counts()
        for part in torch.split(torch.arange(200), size):
            counts.add(logits[part], targets[part])
        assert counts.accuracy() == accuracy(logits, targets)
        assert counts.confusion() == confusion(logits, targets)
        assert counts.rows == 200


def test_accuracy_and_confusion_are_those_of_torchmetrics() -> None:
    from torchmetrics.functional import classification as functional  # takes two seconds

    logits, targets = random_predictions(400, 12)
    targets[targets == 7] = 8  # a class without a sample
    found = accuracy(logits, targets)

    def theirs(**settings: Any) -> Tensor:
        return functional.multiclass_accuracy(logits, targets, num_classes=12, **settings)

    assert found.top1.value == pytest.approx(float(theirs(average="micro")))
    assert found.top5 is not None
    assert found.top5.value == pytest.approx(float(theirs(average="micro", top_k=5)))
    assert found.per_class[7] is None
    for label, (rate, value) in enumerate(zip(found.per_class, theirs(average="none"), strict=True)):
        if rate is not None:
            assert rate.value == pytest.approx(float(value))
            assert rate.samples == int((targets == label).sum())
            assert (rate.low, rate.high) == wilson(round(rate.value * rate.samples), rate.samples)
    matrix = functional.multiclass_confusion_matrix(logits, targets, num_classes=12)
    mistaken = confusion(logits, targets)
    assert mistaken.matrix == tuple(map(tuple, matrix.tolist()))
    assert [count for _, _, count in mistaken.cells] == matrix[matrix > 0].tolist()


def test_top5_needs_ten_classes() -> None:
    assert accuracy(*random_predictions(20, 9)).top5 is None


def test_the_most_confused_pairs_come_first() -> None:
    answers = torch.tensor([1, 1, 0, 2, 2, 2, 2, 0, 1])
    targets = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    pairs = confusion(torch.eye(3)[answers], targets).pairs
    found = [(pair.target, pair.predicted, pair.samples) for pair in pairs]
    assert found == [(1, 2, 3), (0, 1, 2), (2, 0, 1), (2, 1, 1)]
    assert len(confusion(torch.eye(3)[answers], targets, pairs=2).pairs) == 2


def test_precision_recall_and_f1_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    logits, targets = random_predictions(400, 12)
    targets[targets == 7] = 8  # a class without a sample, which is answered all the same
    logits[:, 3] = -10  # one with samples that is never answered
    targets[targets == 5], logits[:, 5] = 6, -10  # and one with neither
    found = confusion(logits, targets)
    answers = logits.argmax(1)
    theirs = precision_recall_fscore_support(targets, answers, labels=range(12), zero_division=math.nan)
    for each, precision, recall, f1, samples in zip(found.by_class, *theirs, strict=True):
        wanted = [None if math.isnan(value) else pytest.approx(value) for value in (precision, recall, f1)]
        assert [each.precision, each.recall, each.f1] == wanted
        assert each.samples == samples
    assert (found.by_class[5], found.by_class[5].f1) == ((0, 0, 0), None)
    macro = precision_recall_fscore_support(targets, answers, average="macro", zero_division=0)[2]
    assert found.macro_f1 == pytest.approx(macro), "over the classes that occur, as there"
    assert confusion(torch.eye(3)[[0, 0]], torch.tensor([1, 2])).macro_f1 == 0
