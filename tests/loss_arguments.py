"""Arguments for the pure functions, made by what the arguments are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from limbeck import losses

SAMPLES, CLASSES = 4, 5
VALUES = ("bounded", "huber", "imitation", "mae", "mse")
"""Functions of values (B, K) and not of classes."""

SHAPES = {
    **dict.fromkeys(("cosine", "embeddistill", "embedding_mse", "icd", "pkd", "rrd", "srrl"), (SAMPLES, 7)),
    **dict.fromkeys(VALUES, (SAMPLES, 3)),
}
"""Of `student` and `teacher`, where a function does not take maps."""

NEGATIVE = ("nasty",)
"""Functions whose value is below zero."""

NOT_BY_SAMPLE = ("margins", "keys", "transform", "common")
"""Arguments that are the same for all samples."""


def loss(name: str) -> Callable[..., Tensor]:
    function: Callable[..., Tensor] = getattr(losses, name)
    return function


def arguments(name: str, scale: float = 1.0) -> dict[str, Any]:
    """Float64 tensors for the arguments that have no default, by what they are called."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    def boxes() -> Tensor:
        corner = normal(SAMPLES, 6, 2)
        return torch.cat([corner, corner + normal(SAMPLES, 6, 2).abs()], -1)

    known: dict[str, Callable[[], Any]] = {
        "logits": lambda: normal(SAMPLES, CLASSES),
        "student_logits": lambda: normal(SAMPLES, CLASSES),
        "teacher_logits": lambda: normal(SAMPLES, CLASSES),
        "student_maps": lambda: normal(SAMPLES, 2, 3, 4),
        "teacher_maps": lambda: normal(SAMPLES, 2, 3, 4),
        "kernels": lambda: normal(SAMPLES, 2, 9, 3, 4).softmax(2),
        "features": lambda: normal(SAMPLES, 2, 3, 4),
        "deepest": lambda: normal(SAMPLES, 2, 3, 4),
        "branches": lambda: [normal(SAMPLES, CLASSES), normal(SAMPLES, CLASSES)],
        "ensemble": lambda: normal(SAMPLES, CLASSES),
        "normal_logits": lambda: normal(SAMPLES, CLASSES),
        "others": lambda: [normal(SAMPLES, CLASSES), normal(SAMPLES, CLASSES)],
        "expert_logits": lambda: [normal(SAMPLES, CLASSES), normal(SAMPLES, CLASSES)],
        "selected": lambda: torch.tensor([0, 1, 1, 0]),
        "targets": lambda: normal(SAMPLES, 3) if name in VALUES else torch.tensor([0, 4, 2, 2]),
        "student_targets": lambda: torch.tensor([0, 4, 2, 2]),
        "teacher_targets": lambda: torch.tensor([1, 0, 3, 2]),
        "student_spans": lambda: torch.arange(SAMPLES),
        "teacher_spans": lambda: torch.arange(SAMPLES),
        "tokens": lambda: torch.tensor([0, 4, 2, 2]),
        "returns": lambda: torch.tensor([-0.5, 0.8, -1.2, -0.1], dtype=torch.float64),
        "drawn": lambda: torch.tensor([-1.5, -0.3, -2.0, -0.9], dtype=torch.float64),
        "importance": lambda: torch.tensor([1.1, 0.7, 1.2, 0.4], dtype=torch.float64),
        "common": lambda: torch.tensor([[0, 1, 3], [2, 1, 4]]),
        "queries": lambda: normal(SAMPLES, 7),
        "documents": lambda: normal(SAMPLES, 3, 7),
        "student_scores": lambda: normal(SAMPLES) if name == "cosent" else normal(SAMPLES, CLASSES),
        "teacher_scores": lambda: normal(SAMPLES, CLASSES),
        "student": lambda: normal(*SHAPES.get(name, (SAMPLES, 2, 3, 4))),
        "prediction": lambda: normal(SAMPLES, 2, 3, 4),
        "teacher": lambda: normal(*SHAPES.get(name, (SAMPLES, 2, 3, 4))),
        "student_stages": lambda: [normal(SAMPLES, 2, 3, 4), normal(SAMPLES, 3, 2, 2)],
        "teacher_stages": lambda: [normal(SAMPLES, 2, 3, 4), normal(SAMPLES, 3, 2, 2)],
        "shares": lambda: normal(SAMPLES, 2, 2).softmax(2),
        "transform": lambda: normal(2, 2),
        "margins": lambda: [-normal(2).abs(), -normal(3).abs()],
        "weights": lambda: normal(SAMPLES, 2).softmax(1),
        "links": lambda: normal(SAMPLES, 2, 2).softmax(2),
        "keys": lambda: normal(6, 7),
        "positive": lambda: normal(SAMPLES),
        "negatives": lambda: torch.tensor([[2], [3], [0]]) if name == "comparative" else normal(SAMPLES, 6),
        "samples": lambda: 20,
        "positives": lambda: torch.tensor([[0], [1], [3]]),
        "temperature": lambda: 4.0,
        "reverse_temperature": lambda: 2.0,
        "log_z": lambda: torch.tensor(2.0, dtype=torch.float64),
        "log_scale": lambda: torch.tensor(1.0, dtype=torch.float64),
        "bias": lambda: torch.tensor(0.5, dtype=torch.float64),
    }
    if name == "giou":
        known |= dict.fromkeys(("student", "teacher"), boxes)
        known["weights"] = lambda: torch.rand(SAMPLES, 6, generator=generator, dtype=torch.float64)
    parameters = inspect.signature(loss(name)).parameters.values()
    return {each.name: known[each.name]() for each in parameters if each.default is each.empty}


def cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, list):
        return [cast(item, dtype) for item in value]
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def rows(value: Any, places: Any) -> Any:
    if isinstance(value, list):
        return [rows(item, places) for item in value]
    return value[places] if isinstance(value, Tensor) and value.dim() else value


def learner(given: dict[str, Any]) -> str:
    """The argument that stands for the student."""
    names = (
        *("student_logits", "logits", "student", "prediction", "student_stages", "positive", "branches"),
        *("features", "queries", "student_scores"),
    )
    return next(name for name in names if name in given)


def learning(given: dict[str, Any]) -> list[Tensor]:
    """The tensors that stand for the student, with gradients."""
    value = given[learner(given)]
    return [tensor.requires_grad_() for tensor in (value if isinstance(value, list) else [value])]
