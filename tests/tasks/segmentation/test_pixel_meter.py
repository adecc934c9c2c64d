"""The meter of pixels: values computed by hand."""

from __future__ import annotations

import json
from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck import LimbeckError
from limbeck.evaluation import metrics
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Segmentation
from limbeck.tasks.sections import Bars, Heatmap, Table
from limbeck.tasks.segmentation.findings import PixelAgreement, PixelFindings
from limbeck.tasks.segmentation.meter import PixelMeter, most_likely

TASK = Segmentation(("sky", "road", "car", "bike"))
LABELS = torch.tensor([[[0, 0, 1], [1, 1, 255]], [[2, 0, 255], [1, 255, 255]]])
ANSWERS = torch.tensor([[[0, 1, 1], [1, 0, 2]], [[2, 0, 3], [1, 3, 3]]])
NOTHING = torch.zeros(2, 1, 2, 3)


def saying(answers: Tensor, sure: float = 3.0) -> Outputs:
    """Logits (B, 4, H, W) whose largest are those of some answers."""
    return Outputs(logits=sure * F.one_hot(answers, 4).movedim(-1, 1).float())


def measured(labels: Tensor = LABELS, answers: Tensor = ANSWERS) -> PixelMeter:
    meter = TASK.meter()
    meter.update(saying(answers), Batch(torch.zeros(len(labels), 1, 2, 3), labels))
    return meter


def test_figures_by_hand() -> None:
    found = TASK.measure(measured(), None)
    # Of 8 pixels that count: sky 3, road 4, car 1; one sky is taken for road and one road for sky.
    assert found.matrix == ((2, 1, 0, 0), (1, 3, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0))
    assert found.iou == (2 / 4, 3 / 5, 1.0, None)
    assert found.recall == (2 / 3, 3 / 4, 1.0, None)
    assert found.metrics["miou"] == pytest.approx((0.5 + 0.6 + 1) / 3)
    assert found.metrics["pixel_accuracy"] == 6 / 8
    assert found.metrics["mean_accuracy"] == pytest.approx((2 / 3 + 3 / 4 + 1) / 3)
    assert found.images == 2
    assert measured().compute() == found.metrics
    assert PixelFindings.model_validate(json.loads(found.model_dump_json())) == found


def test_a_class_that_is_only_answered_counts_with_an_iou_of_0() -> None:
    found = measured(answers=torch.full_like(LABELS, 3)).findings()
    assert found.iou == (0.0, 0.0, 0.0, 0.0)
    assert found.recall[3] is None
    assert found.metrics["miou"] == 0.0


def test_batches_add_up() -> None:
    meter = TASK.meter(quick=True)
    for at in (0, 1):
        meter.update(saying(ANSWERS[at : at + 1]), Batch(NOTHING[:1], LABELS[at : at + 1]))
    meter.update(saying(ANSWERS), Batch(NOTHING, torch.full_like(LABELS, 255)))
    assert meter.findings() == measured().findings().model_copy(update={"hard": None})


def test_metrics_alone_are_the_same_without_boundaries_and_regions() -> None:
    meter = TASK.meter().only_metrics()
    meter.update(saying(ANSWERS), Batch(NOTHING, LABELS))
    assert meter.compute() == measured().compute()
    assert meter.findings().hard is None
    network = Said(saying(ANSWERS).logits)
    assert metrics(TASK, network, [Batch(NOTHING, LABELS)]) == measured().compute()


def test_of_equal_logits_the_first_class_is_the_answer() -> None:
    assert most_likely(torch.zeros(3, 2, 2)).tolist() == [[0, 0], [0, 0]]
    logits = torch.randint(3, (5, 40, 30), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(most_likely(logits), logits.argmax(0))


class Said(nn.Module):
    """Gives the same logits, whatever it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 4, 1)
        self.logits = logits

    def forward(self, pixels: Tensor) -> Tensor:
        unused: Tensor = self.head(pixels)
        return self.logits + 0 * unused


def test_hard_pixels_by_hand() -> None:
    # Every pixel that counts has one of another class beside it, and every region is small.
    found = measured().findings()
    assert found.hard is not None
    assert found.hard.boundary_pixels == found.hard.small_pixels == 8
    assert found.hard.boundary_iou == found.iou
    assert found.hard.boundary_miou == found.metrics["miou"]
    assert found.hard.small_regions == 6  # sky, road in the first image; car, sky, road in the second
    assert found.hard.small_accuracy == 6 / 8
    alike = measured(torch.zeros_like(LABELS), torch.zeros_like(LABELS)).findings().hard
    assert alike is not None
    assert alike.boundary_miou is None
    assert alike.boundary_pixels == 0


def test_coarse_logits_are_resized_before_the_answer() -> None:
    logits = torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2)
    logits = torch.cat([logits, torch.full_like(logits, 2.5), torch.full((1, 2, 1, 2), -9.0)], 1)
    meter = TASK.meter()
    # Resized to 4 pixels the first logit is 0, 1, 3, 4, and the second 2.5 throughout.
    meter.update(Outputs(logits=logits), Batch(torch.zeros(1, 1, 1, 4), torch.tensor([[[1, 1, 0, 0]]])))
    assert meter.compute() == {"miou": 1.0, "pixel_accuracy": 1.0, "mean_accuracy": 1.0}


def test_no_pixel_to_measure_by() -> None:
    with pytest.raises(LimbeckError, match="no pixel of the 2 images has a class"):
        measured(labels=torch.full_like(LABELS, 255)).compute()


def test_at_chance_is_about_one_answer_for_all() -> None:
    # Half of the pixels are road, so that "road" everywhere has an IoU of 1/2 there, and a mean of 1/6.
    assert TASK.at_chance({"miou": 1 / 6}, LABELS)
    assert TASK.at_chance({"miou": 0.18}, LABELS)
    assert not TASK.at_chance({"miou": 0.2}, LABELS)
    assert not TASK.at_chance({"miou": 1.0}, torch.zeros(1, 2, 2, dtype=torch.int64))


def compared(student: Tensor, teacher: Tensor, labels: Tensor | None = LABELS) -> PixelAgreement:
    comparison = TASK.comparison()
    comparison.update(saying(student), saying(teacher), Batch(NOTHING, labels))
    return comparison.compute()


def test_agreement_with_the_teacher() -> None:
    teacher = torch.where(LABELS == 255, 0, LABELS)
    found = compared(ANSWERS, teacher)
    assert found.agreement == 6 / 8
    assert found.miou == pytest.approx((0.5 + 0.6 + 1) / 3)
    # Where both differ, KL between two softmaxes of (3, 0, 0, 0) with the 3 in different places.
    top = 1 / (1 + 3 * 2.718281828459045**-3)
    rest = (1 - top) / 3
    assert found.distance == pytest.approx(2 / 8 * (top - rest) * log(top / rest), rel=1e-5)
    (example,) = found.examples
    assert (example.index, example.target, example.teacher) == (0, "sky", "sky")
    assert example.student == "road; it loses 40.0 % of the pixels"
    assert example.size == (2, 3)
    label, student, teacher_map = example.classes()
    assert label == LABELS[0].flatten().tolist()
    assert student == ANSWERS[0].flatten().tolist()
    assert teacher_map == teacher[0].flatten().tolist()
    assert PixelAgreement.model_validate_json(found.model_dump_json()) == found


def test_agreement_without_labels_is_over_all_pixels() -> None:
    found = compared(ANSWERS, torch.where(LABELS == 255, 0, LABELS), None)
    assert found.agreement == 6 / 12
    assert found.examples == ()
    nothing = compared(ANSWERS, ANSWERS, torch.full_like(LABELS, 255))
    assert (nothing.agreement, nothing.distance) == (None, 0.0)


def test_what_a_report_and_a_card_say() -> None:
    found = measured().findings()
    agreement = compared(ANSWERS, torch.where(LABELS == 255, 0, LABELS))
    classes, beside = TASK.sections({"student": found, "teacher": found}, agreement)
    table, hard, confusion = classes.figures
    assert isinstance(hard, Table)
    assert hard.rows == [["student", "70.0", "70.0", "75.0"], ["teacher", "70.0", "70.0", "75.0"]]
    assert hard.notes.startswith("Near a boundary is a pixel with another class at most 2 % of")
    assert ": 8 pixels. A small region is one of fewer than 1,024 pixels" in hard.notes
    assert isinstance(table, Table)
    assert isinstance(confusion, Heatmap)
    assert table.rows[0] == ["road", "50.00", "75.0", "60.0", "60.0"]
    assert table.rows[3] == ["bike", "0.00", None, None, None]
    assert confusion.values[0] == [66.67, 33.33, 0.0, 0.0]
    assert "75.0 % of the pixels the same class" in beside.text
    assert "mIoU of 70.0 %" in beside.text
    assert TASK.weaknesses(found) == (
        "It is weakest on `sky`: an IoU of 50.0 % on 3 pixels.",
        "It takes 33.3 % of the pixels of `sky` for `road`.",
    )
    (section,) = TASK.compared({"a": [found], "b": [found, found]})
    (bars,) = section.figures
    assert isinstance(bars, Bars)
    assert bars.names == ["sky", "road", "car"]
    assert bars.series["b"] == [50.0, 60.0, 100.0]
