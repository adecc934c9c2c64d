"""Measures of language models, against sums by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Batch, LimbeckError, Outputs
from limbeck.outputs import UNLABELED
from limbeck.tasks import Language
from limbeck.tasks.language import meter as module

TASK = Language(5)


def scored(samples: int = 4, length: int = 6, seed: int = 0) -> tuple[Tensor, Batch]:
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(samples, length, 7, generator=draw)  # a head that is padded by 2
    targets = torch.randint(5, (samples, length), generator=draw)
    targets[:, 0], targets[0] = UNLABELED, UNLABELED
    return logits, Batch(
        {"input_ids": torch.zeros(samples, length, dtype=torch.int64)},
        targets,
        bytes=(targets != UNLABELED).sum(1) * 3,
    )


def test_the_metrics_are_those_of_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, batch = scored()
    assert batch.targets is not None
    valid = batch.targets != UNLABELED
    nll = float(F.cross_entropy(logits[valid][:, :5].double(), batch.targets[valid]))
    right = float((logits[valid][:, :5].argmax(1) == batch.targets[valid]).double().mean())
    wanted = {
        "nll": nll,
        "perplexity": math.exp(nll),
        "bits_per_byte": nll / math.log(2) / 3,
        "accuracy": right,
    }
    for scores in (1 << 22, 8):
        monkeypatch.setattr(module, "SCORES", scores)
        meter = TASK.meter()
        for piece, some in zip(batch.split(3), logits.tensor_split(3), strict=True):
            meter.update(Outputs(logits=some), piece)
        assert meter.compute() == pytest.approx(wanted, rel=1e-6)
        assert [metric.name for metric in TASK.metrics] == list(meter.compute())


def test_without_bytes_there_are_no_bits_per_byte() -> None:
    logits, batch = scored()
    meter = TASK.meter()
    meter.update(Outputs(logits=logits), Batch(batch.inputs, batch.targets))
    assert list(meter.compute()) == ["nll", "perplexity", "accuracy"]
    assert meter.findings().bytes is None


def test_losses_are_told_by_length_of_the_context() -> None:
    logits, batch = scored()
    assert batch.targets is not None
    meter = TASK.meter()
    meter.update(Outputs(logits=logits), batch)
    losses = F.cross_entropy(logits[1:, :, :5].transpose(1, 2), batch.targets[1:], reduction="none")
    found = meter.findings().contexts  # position 0 is never predicted from
    assert [(each.first, each.last, each.tokens) for each in found] == [(2, 3, 6), (4, 7, 9)]
    assert found[0].nll == pytest.approx(float(losses[:, 1:3].mean()), abs=1e-6)
    assert found[1].nll == pytest.approx(float(losses[:, 3:].mean()), abs=1e-6)
    packed = TASK.meter()
    inputs = {"position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]]).expand(4, 6)}
    packed.update(Outputs(logits=logits), Batch(inputs, batch.targets))
    assert [each.tokens for each in packed.findings().contexts] == [3, 12]


def test_student_and_teacher_are_compared_at_the_predicted_tokens() -> None:
    (student, batch), (teacher, _) = scored(), scored(seed=1)
    assert batch.targets is not None
    valid = batch.targets != UNLABELED
    ours, theirs = (each[valid][:, :5].double().log_softmax(1) for each in (student, teacher))
    comparison = TASK.comparison()
    for piece, first, second in zip(
        batch.split(2), student.tensor_split(2), teacher.tensor_split(2), strict=True
    ):
        comparison.update(Outputs(logits=first), Outputs(logits=second), piece)
    found = comparison.compute()
    assert found.distance == pytest.approx(float((theirs.exp() * (theirs - ours)).sum(1).mean()), abs=1e-6)
    assert found.agreement == pytest.approx(float((ours.argmax(1) == theirs.argmax(1)).double().mean()))


def test_nothing_to_predict_is_said() -> None:
    meter = TASK.meter()
    meter.update(Outputs(logits=torch.zeros(2, 3, 5)), Batch(torch.zeros(2, 3).long(), None))
    with pytest.raises(LimbeckError, match="no token of the 2 samples"):
        meter.compute()


def test_a_report_shows_the_figures() -> None:
    logits, batch = scored()
    meter, comparison = TASK.meter(), TASK.comparison()
    meter.update(Outputs(logits=logits), batch)
    comparison.update(Outputs(logits=logits), Outputs(logits=logits), batch)
    found = meter.findings()
    first, second = TASK.sections({"student": found}, comparison.compute())
    table, curve = first.figures
    assert table.rows == [  # type: ignore[union-attr]
        [
            "student",
            "15",
            "3.00",
            f"{found.nll:.4f}",
            f"{math.exp(found.nll):.2f}",
            f"{found.nll / math.log(2) / 3:.4f}",
            f"{100 * found.accuracy:.1f}",
        ]
    ]
    assert [x for x, _ in curve.lines[0].points] == [1.0, 2.0]  # type: ignore[union-attr]
    assert "in 100.0 % of the predictions" in second.text
    assert "0.000 nats" in second.text
    assert any("nats a token" in sentence for sentence in TASK.weaknesses(found))
