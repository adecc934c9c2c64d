"""Detectors of other packages answer with the objects that they find."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck.models.object_answers import PLACES, answer_by_place, finds_objects
from limbeck.outputs import Outputs
from limbeck.tasks.detection.decoding import Objects, objects

IMAGES = torch.zeros(2, 3, 20, 40)


class Given(nn.Module):
    """Returns what it was made with."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, images: Tensor) -> Any:
        return self.result


def found(result: Any, classes: int = 2, least: float = 0.05) -> list[Objects]:
    answer = answer_by_place(Given(result), classes)(IMAGES)
    assert answer["logits"].shape == (2, PLACES, classes + 1)
    assert answer["boxes"].shape == (2, PLACES, 4)
    assert answer["logits"].isfinite().all()
    torch.testing.assert_close(answer["logits"].softmax(-1).sum(-1), torch.ones(2, PLACES))
    return objects(Outputs(**answer), least)


def image(*them: tuple[list[float], int, float]) -> dict[str, Tensor]:
    """What a detector of torchvision says of an image."""
    return {
        "boxes": torch.tensor([box for box, _, _ in them]).view(-1, 4),
        "labels": torch.tensor([which for _, which, _ in them], dtype=torch.int64),
        "scores": torch.tensor([score for _, _, score in them]),
    }


def test_objects_of_torchvision_whose_first_class_is_the_background() -> None:
    first = image(([0, 0, 4, 4], 2, 0.5), ([0, 0, 4, 5], 2, 1.0), ([1, 1, 8, 9], 1, 0.04))
    seen, none = found([first, image()])
    assert seen.classes.tolist() == [1, 1]  # none is suppressed here: the network has done that
    torch.testing.assert_close(seen.scores, torch.tensor([1.0, 0.5]))
    assert seen.boxes.tolist() == [[0, 0, 4, 5], [0, 0, 4, 4]]
    assert len(none.scores) == 0


def test_the_best_hundred_are_kept() -> None:
    many = [([0.0, 0, number + 1, 1], 1, number / 1000) for number in range(1, 201)]
    seen, _ = found([image(*many), image()], least=0.0)
    assert seen.boxes[:100, 2].tolist() == [float(number) for number in range(201, 101, -1)]


def queries(width: int) -> Any:
    """What a network of transformers returns for seven queries."""
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        logits=torch.randn(2, 7, width, generator=generator),
        pred_boxes=0.3 + 0.2 * torch.rand(2, 7, 4, generator=generator),
    )


@pytest.mark.parametrize(("processor", "width"), [("DetrImageProcessor", 3), ("RTDetrImageProcessor", 2)])
def test_objects_are_those_of_the_image_processor_of_transformers(processor: str, width: int) -> None:
    transformers = pytest.importorskip("transformers")
    given = queries(width)
    theirs = getattr(transformers, processor)().post_process_object_detection(
        given, threshold=0.05, target_sizes=[(20, 40)] * 2
    )
    for ours, each in zip(found(given), theirs, strict=True):
        order = each["scores"].argsort(descending=True)[: len(ours.scores)]
        torch.testing.assert_close(ours.scores[: len(order)], each["scores"][order])
        assert ours.classes[: len(order)].tolist() == each["labels"][order].tolist()
        torch.testing.assert_close(ours.boxes[: len(order)], each["boxes"][order])
        assert len(each["scores"]) >= 7 - (width == 3)


def test_the_network_stays_itself() -> None:
    network = nn.Conv2d(3, 2, 1)
    keys = list(network.state_dict())
    assert not finds_objects(network)
    assert answer_by_place(network, 2) is network
    assert finds_objects(network)
    assert list(network.state_dict()) == keys
