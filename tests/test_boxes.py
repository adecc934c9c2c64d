"""Boxes: how much they overlap, and which are kept."""

from __future__ import annotations

import pytest
import torch

from limbeck.boxes import TOGETHER, area, generalized_iou, iou, suppressed


def test_overlaps_of_boxes_by_hand() -> None:
    first = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 2]])
    second = torch.tensor([[2.0, 2, 4, 4], [6, 0, 8, 2], [1, 1, 1, 1]])
    assert area(first).tolist() == [16, 4]
    assert iou(first, second).tolist() == [[0.25, 0, 0], [0, 0, 0]]
    # apart by 4: 16 + 4 of a box around both of 8 x 4 = 32 are in one of them
    assert generalized_iou(first[0], second[1]).item() == pytest.approx(-12 / 32)
    assert generalized_iou(first[0], second[0]).item() == pytest.approx(0.25)
    assert generalized_iou(first[1], first[1]).item() == 1


def test_the_gradient_moves_boxes_that_are_apart() -> None:
    box = torch.tensor([0.0, 0, 2, 2], requires_grad=True)
    (-generalized_iou(box, torch.tensor([6.0, 0, 8, 2]))).backward()  # type: ignore[no-untyped-call]
    assert box.grad is not None
    assert box.grad[2] < 0  # the right side is to go right


def by_hand(boxes: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, most: float) -> list[int]:
    """Greedy suppression, one box after the other."""
    kept: list[int] = []
    for each in scores.argsort(descending=True, stable=True).tolist():
        rivals = [other for other in kept if classes[other] == classes[each]]
        if all(iou(boxes[[other]], boxes[[each]]).item() <= most for other in rivals):
            kept.append(each)
    return kept


@pytest.mark.parametrize("count", [1, 60, TOGETHER, TOGETHER + 1, 3 * TOGETHER])
def test_suppression_is_greedy(count: int) -> None:
    draw = torch.Generator().manual_seed(count)
    corner, size = (torch.rand(count, 2, generator=draw) * scale for scale in (40, 24))
    boxes, scores = torch.cat([corner, corner + size], 1), torch.rand(count, generator=draw)
    classes = torch.randint(2, (count,), generator=draw)
    kept = suppressed(boxes, scores, classes, 0.5)
    assert kept.tolist() == by_hand(boxes, scores, classes, 0.5)
    assert len(kept) < count or count == 1
    for most in (0, 1, 40, count):
        assert torch.equal(suppressed(boxes, scores, classes, 0.5, most), kept[:most])


def test_what_a_suppressed_box_would_suppress_stays() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    assert suppressed(boxes, scores, classes, 0.5).tolist() == [0, 2]
    assert suppressed(boxes[:0], scores[:0], classes[:0], 0.5).tolist() == []
