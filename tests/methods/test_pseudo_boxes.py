"""The boxes that a teacher finds as labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from detectors import TASK, boxed_batch, detector
from limbeck import Distiller, LimbeckError
from limbeck.methods.pseudo_boxes import pseudo_boxes
from limbeck.models.object_answers import answer_by_place

CAT, DOG = [2.0, 3, 20, 19], [25.0, 10, 45, 30]


class Knowing(nn.Module):
    """Answers as a detector of torchvision does, with the same objects for every image."""

    def __init__(self, scores: tuple[float, float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        one = {"boxes": torch.tensor([CAT, DOG]), "labels": torch.tensor([1, 2]), "scores": self.scores}
        return [one for _ in images]


def test_boxes_are_kept_by_their_score_and_overlap() -> None:
    p = torch.tensor([[0.95, 0.02, 0.03], [0.97, 0.01, 0.02], [0.01, 0.92, 0.07], [0.5, 0.1, 0.4]])
    boxes = torch.tensor([CAT, [2.0, 3, 20, 18], CAT, DOG])
    found = pseudo_boxes(p.log()[None], boxes[None], 0.9)
    assert found[0].tolist() == [[2, 3, 20, 18, 0], [*CAT, 1]]
    assert pseudo_boxes(p.log()[None], boxes[None], 0.45)[0, 2].tolist() == [*DOG, 0]
    both = pseudo_boxes(p.log().expand(2, 4, 3), torch.stack([boxes, boxes.flip(1)]), 0.9)
    assert both[1, :, 4].tolist() == [-1, -1]  # turned inside out, they have no area
    assert pseudo_boxes(p.log()[None], boxes[None], 0.99).tolist() == [[[0, 0, 0, 0, -1]]]


def test_the_losses_are_those_of_fcos_with_these_labels() -> None:
    batch, student = boxed_batch(), detector()
    labels = torch.tensor([[*CAT, 0], [*DOG, 1]]).expand(4, 2, 5)
    taught = Distiller(
        student, answer_by_place(Knowing((0.95, 0.6)), 2), "pseudo_boxes(least=0.5, box_weight=2)",
        example=batch.inputs, task=TASK,
    )  # fmt: skip
    alone = Distiller(detector(), None, "fcos(box_weight=2)", example=batch.inputs, task=TASK)
    found, expected = taught(replace(batch, targets=None)), alone(replace(batch, targets=labels))
    for term in ("class", "box", "center"):
        assert torch.equal(found[f"pseudo_boxes.{term}"], expected[f"fcos.{term}"])
    assert found.total == expected.total
    fewer = Distiller(
        detector(), answer_by_place(Knowing((0.95, 0.6)), 2), "pseudo_boxes", example=batch.inputs, task=TASK
    )(batch)
    one = alone(replace(batch, targets=labels[:, :1]))
    assert torch.equal(fewer["pseudo_boxes.class"], one["fcos.class"])


def test_a_detector_of_limbeck_with_other_places_may_teach_it() -> None:
    batch = boxed_batch()
    distiller = Distiller(
        detector(), detector(levels=1), "pseudo_boxes(least=0.0)", example=batch.inputs, task=TASK
    )
    assert distiller(batch)["pseudo_boxes.box"] > 0


@pytest.mark.parametrize("method", ["kd", "giou", "dkd"])
def test_what_compares_places_is_refused_by_name(method: str) -> None:
    batch, teacher = boxed_batch(), answer_by_place(Knowing((0.95, 0.6)), 2)
    message = (
        rf"{method} compares detectors at the same places of an image, and the teacher, Knowing, answers"
    )
    with pytest.raises(LimbeckError, match=rf"{message} with the objects that it finds.*use pseudo_boxes"):
        Distiller(detector(), teacher, f"fcos + {method}", example=batch.inputs, task=TASK)
