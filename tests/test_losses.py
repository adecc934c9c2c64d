"""The pure functions: what somebody else's framework may rely on, for all of them alike.

A function whose arguments have the usual names is tested here without another line.
"""

from __future__ import annotations

import inspect
from typing import Literal, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor

import limbeck
from limbeck import losses
from limbeck.errors import LimbeckError
from loaded_modules import modules_after
from loss_arguments import NEGATIVE, NOT_BY_SAMPLE, SAMPLES, arguments, cast, learner, learning, loss, rows

every_loss = pytest.mark.parametrize("name", losses.__all__)
per_sample = pytest.mark.parametrize(
    "name",
    [name for name in losses.__all__ if "reduction" in inspect.signature(getattr(losses, name)).parameters],
)


def test_the_door_opens_from_the_package() -> None:
    assert limbeck.losses is losses
    assert losses.__all__ == sorted(losses.__all__)
    assert {"kd", "cross_entropy"} <= set(losses.__all__)


def test_the_door_loads_torch_and_limbecks_own_code_alone() -> None:
    homes = {function.__module__ for function in map(loss, losses.__all__)}
    loaded = modules_after("limbeck.losses", *homes)
    assert {module.partition(".")[0] for module in loaded - modules_after("torch")} == {"limbeck"}
    rooms = {".".join(module.split(".")[:2]) for module in loaded if module.startswith("limbeck.")}
    assert not rooms & {
        f"limbeck.{name}" for name in ("data", "models", "optimization", "teachers", "training")
    }


def test_an_equation_does_not_wait_for_the_others() -> None:
    loaded = modules_after("limbeck.losses", "limbeck.methods.kd") - modules_after("torch")
    assert "limbeck.methods.kd" in loaded
    assert not loaded & {f"limbeck.methods.{name}" for name in ("dkd", "icd", "mgd", "crd")}
    with pytest.raises(AttributeError, match="has no attribute 'kdd'"):
        losses.kdd  # noqa: B018 (looked up for its error)


@every_loss
def test_an_unknown_word_is_refused(name: str) -> None:
    words = [each for each, hint in get_type_hints(loss(name)).items() if get_origin(hint) is Literal]
    for each in words:
        with pytest.raises(LimbeckError, match="nonsense"):
            loss(name)(**{**arguments(name), each: "nonsense"})


WITHOUT_EQUATION = {
    "cutmix": "changes what others learn from",
    "dot": "is a rule of the optimizer",
    "fcos": "is focal, the generalized IoU of boxes and a binary cross-entropy, for each image",
    "ikd": "is kd from a teacher that learns, whose gradient is that of no loss of its own",
    "label_smoothing": "is cross_entropy(epsilon=...)",
    "logit_standardization": "changes what others compare",
    "matryoshka": "is the objective that it wraps, on the first numbers of an embedding",
    "mgd": "is kd between codes",
    "mixup": "changes what others learn from",
    "mtpd": "is the objective that it wraps, with one teacher after the other",
    "okd": "is kd from a teacher that learns",
    "on_policy": "changes what others learn from",
    "pseudo_boxes": "is fcos with what a teacher finds for labels",
    "seqkd": "likewise",
    "skd": "likewise",
    "rolewise": "is a rule of the optimizer",
    "rtk": "is linked_attention with links to some of the teacher's stages alone",
}


def test_the_door_has_every_methods_equation() -> None:
    from limbeck.methods import METHODS

    homes = {function.__module__ for function in map(loss, losses.__all__)}
    own = {name for name, method in METHODS.items() if method.__module__.startswith("limbeck.")}
    assert {name for name in own if f"limbeck.methods.{name}" not in homes} == WITHOUT_EQUATION.keys()


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
    assert value.item() < 0 if name in NEGATIVE else value.item() > 0
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
def test_a_sample_that_is_all_zero_has_no_great_gradient(name: str) -> None:
    ordinary, silent = arguments(name), arguments(name)
    place = learner(silent)
    for tensor in silent[place] if isinstance(silent[place], list) else [silent[place]]:
        tensor[0] = 0
    greatest = []
    for given in (ordinary, silent):
        given = {key: cast(value, torch.float32) for key, value in given.items()}
        students = learning(given)
        loss(name)(**given).backward()  # type: ignore[no-untyped-call]
        greatest.append(
            max(float(student.grad.abs().max()) for student in students if student.grad is not None)
        )
    assert greatest[1] < 100 * greatest[0]


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
        with pytest.raises(LimbeckError):
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
