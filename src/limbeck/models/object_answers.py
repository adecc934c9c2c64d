"""Networks of other packages that find objects, answering as limbeck's detectors do.

Detectors of torchvision answer with a list of objects for each image, those of transformers with boxes for a
number of queries. Neither has places in the image that another network has too. What is known of them is
which objects they find by their own rule: each is a place of its own here, and further ones have none.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.outputs import NEVER

PLACES = 100
"""Places of an image, for the objects with the highest scores; as COCO's figures have it."""


def answer_by_place(network: nn.Module, classes: int) -> nn.Module:
    """Has a detector answer with `logits` (B, 100, C + 1) and `boxes` (B, 100, 4) in pixels; gives it back.

    The softmax of the logits of a place is the score of an object at its class, and the rest at the last one,
    that of the background. Objects of torchvision are those that are left after its suppression. Those of a
    network of transformers are found as its image processor does: where an output says that there is no
    object, each query has its most probable class; otherwise the pairs of query and class with the highest
    probabilities count. A forward hook does it, so that the class and the keys of `state_dict()` stay what
    they were.

    Args:
        network: a detector of torchvision, in eval mode, or one of `transformers`.
        classes: C, how many classes it tells apart, without the background.
    """
    network.register_forward_hook(_Hook(classes))
    return network


def finds_objects(network: nn.Module) -> bool:
    """Whether a network answers so."""
    return any(isinstance(hook, _Hook) for hook in network._forward_hooks.values())


class _Hook:
    """The forward hook."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, network: nn.Module, args: tuple[Any, ...], result: Any) -> dict[str, Tensor]:
        if not isinstance(result, list):
            return _placed(*_of_queries(result, args[0].shape[-2:], self.classes), self.classes)
        found = [
            _placed(image["scores"][None], image["boxes"][None], image["labels"][None] - 1, self.classes)
            for image in result  # whose class 0 is the background
        ]
        return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def _of_queries(result: Any, sides: torch.Size, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, K), boxes (B, K, 4) in pixels and classes (B, K) of what a network of transformers returned.

    Args:
        result: with `logits` (B, Q, C) or (B, Q, C + 1), and `pred_boxes` (B, Q, 4): x and y of the middle,
            width and height, as shares of the image.
        sides: height and width of the image.
        classes: C.
    """
    logits, boxes = result.logits.float(), result.pred_boxes.float()
    middle, size = boxes[..., :2], boxes[..., 2:]
    height, width = sides
    boxes = torch.cat([middle - size / 2, middle + size / 2], -1) * boxes.new_tensor([width, height] * 2)
    if logits.shape[-1] > classes:
        scores, which = logits.softmax(-1)[..., :-1].max(-1)
        return scores, boxes, which
    scores, pairs = logits.sigmoid().flatten(1).topk(min(PLACES, logits[0].numel()))
    query = (pairs // classes)[..., None].expand(-1, -1, 4)
    return scores, boxes.gather(1, query), pairs % classes


def _placed(scores: Tensor, boxes: Tensor, which: Tensor, classes: int) -> dict[str, Tensor]:
    """The answer of scores (B, K), boxes (B, K, 4) and classes (B, K), the highest scores first."""
    best = scores.argsort(dim=1, descending=True, stable=True)[:, :PLACES]
    scores, which = scores.gather(1, best), which.gather(1, best)
    boxes = boxes.gather(1, best[..., None].expand(-1, -1, 4))
    logits = scores.new_full((*scores.shape, classes + 1), NEVER)
    tiny = torch.finfo(scores.dtype).tiny
    logits.scatter_(2, which[..., None], scores.clamp(min=tiny).log()[..., None])
    logits[..., -1] = (1 - scores).clamp(min=tiny).log()
    more = PLACES - scores.shape[1]
    none = logits.new_full((len(logits), more, classes + 1), NEVER)
    none[..., -1] = 0
    return {"logits": torch.cat([logits, none], 1), "boxes": F.pad(boxes, (0, 0, 0, more))}
