"""The pure functions: what somebody else's framework may rely on, for all of them alike.

A function whose arguments have the usual names is tested here without another line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import limbeck
from limbeck import losses
from limbeck.errors import LimbeckError

every_loss = pytest.mark.parametrize("name", losses.__all__)
per_sample = pytest.mark.parametrize(
    "name",
    [name for name in losses.__all__ if "reduction" in inspect.signature(getattr(losses, name)).parameters],
)

SAMPLES, CLASSES = 4, 5
VALUES = ("bounded", "huber", "imitation", "mse")
"""Functions of values (B, K) and not of classes."""

SHAPES = {"icd": (SAMPLES, 7), "rrd": (SAMPLES, 7), **dict.fromkeys(VALUES, (SAMPLES, 3))}
"""Of `student` and `teacher`, where a function does not take maps."""

NOT_BY_SAMPLE = ("margins", "keys")
"""Arguments that are the same for all samples."""


def loss(name: str) -> Callable[..., Tensor]:
    function: Callable[..., Tensor] = getattr(losses, name)
    return function


def arguments(name: str, scale: float = 1.0) -> dict[str, Any]:
    """Float64 tensors for the arguments that have no default, by what they are called."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    known: dict[str, Callable[[], Any]] = {
        "logits": lambda: normal(SAMPLES, CLASSES),
        "student_logits": lambda: normal(SAMPLES, CLASSES),
        "teacher_logits": lambda: normal(SAMPLES, CLASSES),
        "others": lambda: [normal(SAMPLES, CLASSES), normal(SAMPLES, CLASSES)],
        "targets": lambda: normal(SAMPLES, 3) if name in VALUES else torch.tensor([0, 4, 2, 2]),
        "student": lambda: normal(*SHAPES.get(name, (SAMPLES, 2, 3, 4))),
        "prediction": lambda: normal(SAMPLES, 2, 3, 4),
        "teacher": lambda: normal(*SHAPES.get(name, (SAMPLES, 2, 3, 4))),
        "student_stages": lambda: [normal(SAMPLES, 2, 3, 4), normal(SAMPLES, 3, 2, 2)],
        "teacher_stages": lambda: [normal(SAMPLES, 2, 3, 4), normal(SAMPLES, 3, 2, 2)],
        "margins": lambda: [-normal(2).abs(), -normal(3).abs()],
        "weights": lambda: normal(SAMPLES, 2).softmax(1),
        "keys": lambda: normal(6, 7),
        "positive": lambda: normal(SAMPLES),
        "negatives": lambda: normal(SAMPLES, 6),
        "samples": lambda: 20,
        "log_z": lambda: torch.tensor(2.0, dtype=torch.float64),
        "log_scale": lambda: torch.tensor(1.0, dtype=torch.float64),
        "bias": lambda: torch.tensor(0.5, dtype=torch.float64),
    }
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
    names = ("student_logits", "logits", "student", "prediction", "student_stages", "positive")
    return next(name for name in names if name in given)


def learning(given: dict[str, Any]) -> list[Tensor]:
    """The tensors that stand for the student, with gradients."""
    value = given[learner(given)]
    return [tensor.requires_grad_() for tensor in (value if isinstance(value, list) else [value])]


def test_the_door_opens_from_the_package() -> None:
    assert limbeck.losses is losses
    assert losses.__all__ == sorted(losses.__all__)
    assert {"kd", "cross_entropy"} <= set(losses.__all__)


@every_loss
def test_it_is_documented_and_typed(name: str) -> None:
    function = loss(name)
    assert function.__module__.startswith("limbeck.methods.")
    signature, text = inspect.signature(function), inspect.getdoc(function) or ""
    assert signature.return_annotation == "Tensor"
    for parameter in signature.parameters:
        assert f"    {parameter}:" in text or f"{parameter}, " in text, f"{parameter} is not in the docstring"


@every_loss
def test_it_is_a_finite_scalar_that_can_be_learned_from(name: str) -> None:
    given = arguments(name)
    students = learning(given)
    value = loss(name)(**given)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.item() > 0
    for student in students:
        assert student.grad is not None
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() > 0


@every_loss
def test_its_gradient_is_that_of_its_value(name: str) -> None:
    given = arguments(name)
    place = learner(given)

    def value(*students: Tensor) -> Tensor:
        several = isinstance(given[place], list)
        return loss(name)(**{**given, place: list(students) if several else students[0]})

    assert torch.autograd.gradcheck(value, tuple(learning(given)), fast_mode=True)


@every_loss
def test_its_inputs_are_left_alone(name: str) -> None:
    given, before = arguments(name), arguments(name)
    loss(name)(**given)
    torch.testing.assert_close(given, before, rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(name: str, dtype: torch.dtype) -> None:
    halves = {key: cast(value, dtype) for key, value in arguments(name).items()}
    whole = {key: cast(value, torch.float32) for key, value in halves.items()}
    for scalar in ("log_scale", "bias", "log_z"):  # parts of the method, which stay in full precision
        halves |= {scalar: whole[scalar]} if scalar in whole else {}
    found = loss(name)(**halves)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(name)(**whole))


@every_loss
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_extreme_inputs_have_finite_values_and_gradients(name: str, scale: float) -> None:
    given = {key: cast(value, torch.float32) for key, value in arguments(name, scale).items()}
    students = learning(given)
    value = loss(name)(**given)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite()
    assert all(student.grad is not None and student.grad.isfinite().all() for student in students)


@every_loss
@pytest.mark.parametrize("count", [1, 2])
def test_one_sample_is_never_stretched_over_the_others(name: str, count: int) -> None:
    whole = arguments(name)
    fewer = {
        key: rows(value, slice(0, count))
        for key, value in whole.items()
        if key not in NOT_BY_SAMPLE and (isinstance(value, list) or getattr(value, "ndim", False))
    }
    for key in fewer if len(fewer) > 1 else ():
        with pytest.raises((LimbeckError, ValueError)):  # cross_entropy's is torch's own
            loss(name)(**{**whole, key: fewer[key]})


@per_sample
def test_values_per_sample_mean_to_the_scalar_and_know_no_batch(name: str) -> None:
    given = arguments(name)
    each = loss(name)(**given, reduction="none")
    assert each.shape == (SAMPLES,)
    torch.testing.assert_close(loss(name)(**given), each.mean(), rtol=1e-14, atol=0)
    for places in (slice(0, 1), slice(1, 4), [3, 0]):
        some = {k: value if k in NOT_BY_SAMPLE else rows(value, places) for k, value in given.items()}
        torch.testing.assert_close(loss(name)(**some, reduction="none"), each[places], rtol=1e-12, atol=0)
