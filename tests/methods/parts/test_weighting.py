"""Weights of samples, in the terms that fit the labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from method_setting import CLASSES, SAMPLES, Setting, make_setting
from mixtures import at_step, wrapper_of
from torch import Tensor

import limbeck
from limbeck import Batch, Distiller, LimbeckError, Outputs, losses
from limbeck.methods.parts.mixing import partners
from limbeck.outputs import UNLABELED, mean_one
from limbeck.tasks import Segmentation
from segmenters import Strided, batch_of

WEIGHTS = torch.linspace(0, 3, SAMPLES, dtype=torch.float64)


@pytest.fixture
def setting() -> Setting:
    return make_setting(norm=False, dtype=torch.float64)


def test_the_task_terms_are_weighted_means_and_those_of_the_teacher_are_not(setting: Setting) -> None:
    distiller = setting.distiller("ce + label_smoothing(epsilon=0.2) + focal(gamma=2) + kd(temperature=2)")
    found = distiller(setting.inputs, setting.targets, weights=WEIGHTS)
    logits, targets = distiller.student(setting.inputs), setting.targets

    def mean(values: Tensor) -> Tensor:
        return (WEIGHTS * values).sum() / WEIGHTS.sum()

    nll = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(found["ce"], mean(nll))
    smooth = F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(found["label_smoothing"], mean(smooth))
    torch.testing.assert_close(found["focal"], mean((1 - (-nll).exp()) ** 2 * nll))
    without = distiller(setting.inputs, setting.targets)
    assert torch.equal(found["kd"], without["kd"])
    assert not torch.isclose(found["ce"], without["ce"])


@pytest.mark.parametrize("name", ["mse", "mae", "huber"])
def test_values_have_weights_too(name: str) -> None:
    setting = make_setting(name, norm=False, dtype=torch.float64)
    distiller = setting.distiller(name)
    outputs = Outputs(logits=distiller.student(setting.inputs))
    rows = distiller.task.rows(Batch(setting.inputs, setting.targets), outputs)
    per_row = getattr(losses, name)(rows.logits(outputs.logits), rows.targets, reduction="none")
    found = distiller(setting.inputs, setting.targets, weights=WEIGHTS)[name]
    torch.testing.assert_close(found, (WEIGHTS * per_row).sum() / WEIGHTS.sum())


def test_equal_weights_change_no_bit(setting: Setting) -> None:
    distiller = setting.distiller("ce + kd")
    plain = distiller(setting.inputs, setting.targets).total
    assert torch.equal(distiller(setting.inputs, setting.targets, weights=torch.ones(SAMPLES)).total, plain)
    torch.testing.assert_close(
        distiller(setting.inputs, setting.targets, weights=torch.full((SAMPLES,), 7.0)).total, plain
    )


def test_a_sample_without_a_label_counts_as_zero_with_its_weight(setting: Setting) -> None:
    distiller = setting.distiller("ce")
    targets = setting.targets.clone()
    targets[:4] = UNLABELED
    nll = F.cross_entropy(distiller.student(setting.inputs), setting.targets, reduction="none")
    expected = (WEIGHTS * nll)[4:].sum() / WEIGHTS.sum()
    torch.testing.assert_close(distiller(setting.inputs, targets, weights=WEIGHTS).total, expected)


def test_pieces_of_a_batch_add_up_to_it(setting: Setting) -> None:
    distiller = setting.distiller("0.3*ce + kd")
    batch = Batch(setting.inputs, setting.targets, weights=mean_one(WEIGHTS))
    whole = distiller(batch).total
    parts = sum(distiller(piece).total * len(piece) / SAMPLES for piece in batch.split(3))
    torch.testing.assert_close(parts, whole)


def test_a_batch_of_zeros_counts_for_nothing(setting: Setting) -> None:
    distiller = setting.distiller("ce + kd")
    found = distiller(setting.inputs, setting.targets, weights=torch.zeros(SAMPLES))
    assert found["ce"].item() == 0
    assert found["kd"].item() > 0


def test_each_label_of_a_multilabel_sample_has_the_weight_of_the_sample() -> None:
    setting = make_setting(norm=False, dtype=torch.float64)
    targets = torch.randint(0, 2, (SAMPLES, CLASSES), generator=torch.Generator().manual_seed(1))
    distiller = Distiller(setting.student, None, "ce", example=setting.inputs[:2], task="multilabel")
    found = distiller(setting.inputs, targets, weights=WEIGHTS).total
    binary = F.binary_cross_entropy_with_logits(
        setting.student(setting.inputs), targets.double(), reduction="none"
    )
    torch.testing.assert_close(found, (WEIGHTS * binary.mean(1)).sum() / WEIGHTS.sum())


def test_wrappers_weigh_what_they_wrap(setting: Setting) -> None:
    distiller = setting.distiller("mgd(0.2*ce + 0.8*kd, epochs=1)")
    limbeck.prepare(distiller, [Batch(setting.inputs, setting.targets)], display=False)
    found = distiller(setting.inputs, setting.targets, weights=WEIGHTS)
    nll = F.cross_entropy(distiller.student(setting.inputs), setting.targets, reduction="none")
    torch.testing.assert_close(found["mgd.ce"], (WEIGHTS * nll).sum() / WEIGHTS.sum())


def test_mixup_weighs_each_of_both_labels_with_its_own_sample() -> None:
    setting = make_setting("mixup(ce, alpha=0.5)")
    distiller = setting.distiller("mixup(ce, alpha=0.5)")
    mixup, batch = wrapper_of(distiller), at_step(setting)
    assert isinstance(batch.inputs, Tensor)
    inputs, share = mixup.mixed(batch.inputs, batch.inputs[partners(torch.arange(16), mixup.draws, 7)], 7)
    order = partners(torch.arange(16), mixup.draws, 7)
    weights = mean_one(torch.linspace(0, 3, SAMPLES))
    logits = distiller.student(inputs)
    ours, theirs = (
        F.cross_entropy(logits, targets, reduction="none")
        for targets in (setting.targets, setting.targets[order])
    )
    expected = (share * weights * ours + (1 - share) * weights[order] * theirs).mean()
    torch.testing.assert_close(
        distiller(replace(batch, weights=weights)).total, expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("objective", ["dml", "mixkd + ce"])
def test_a_term_for_the_labels_that_takes_no_weights_is_refused(objective: str) -> None:
    setting = make_setting(objective)
    distiller = setting.distiller(objective)
    batch = at_step(setting)
    distiller(batch)
    name = objective.split(" ")[0]
    with pytest.raises(LimbeckError, match=rf"what {name} learns from labels takes none; use ce"):
        distiller(replace(batch, weights=torch.ones(SAMPLES)))


def test_samples_with_different_numbers_of_decisions_have_no_weights() -> None:
    batch = batch_of()
    student = Strided(4, 1).double()
    distiller = Distiller(student, None, "ce", example=batch.inputs, task=Segmentation(("a", "b", "c")))
    with pytest.raises(LimbeckError, match="and in segmentation they have different numbers of them"):
        distiller(batch.inputs, batch.targets, weights=torch.ones(4))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (torch.ones(3), r"of a batch of 16 must be floats of shape \(16,\), not float32 of shape \(3,\)"),
        (torch.ones(SAMPLES, dtype=torch.int64), "not int64 of shape"),
        ([1.0] * SAMPLES, "not list"),
        (
            torch.arange(SAMPLES) - 2.0,
            "the weight at position 0 of a batch is -2; a weight",
        ),
        (torch.full((SAMPLES,), torch.nan), "the weight at position 0 of a batch is nan"),
    ],
)
def test_other_weights_are_refused(setting: Setting, weights: Tensor, said: str) -> None:
    with pytest.raises(LimbeckError, match=said):
        setting.distiller("ce")(setting.inputs, setting.targets, weights=weights)
