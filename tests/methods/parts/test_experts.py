"""Which teachers a method of several takes, and in which order."""

from __future__ import annotations

import pytest
from method_setting import make_setting
from torch import nn

from limbeck import Distiller, LimbeckError
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.teachers import LiveTeacher, Teacher

METHODS = ("dgkd", "ceskd")


class NetworkOfOthers(Teacher):
    """A teacher whose network is somewhere else."""

    def __init__(self, network: nn.Module) -> None:
        self._live = LiveTeacher(network)

    def open(self, example: Inputs, fields: object) -> None:
        self._live.open(example, ("logits",))

    def __call__(self, batch: Batch) -> Outputs:
        return self._live(batch)


def distiller(objective: str, teachers: dict[str, object] | None = None) -> Distiller:
    setting = make_setting()
    given: dict[str, object] = dict(setting.named) if teachers is None else teachers
    return Distiller(setting.student, given, objective, example=setting.inputs[:2])  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            'teachers=["big"]',
            r'teachers=\["big"\] names 1; name them from the smallest to the largest, teachers=',
        ),
        ("teachers=[]", r"teachers=\[\] names none; name them from the smallest"),
        ('teachers=["big", "big"]', r'teachers=\["big", "big"\] names \'big\' more than once'),
        ('teachers=["small", "big"], teacher="big"', 'leave teacher="big" out'),
        ('teachers="big"', 'the argument teachers="big" should be a list'),
        ("", "missing a required argument: 'teachers'"),
        ('teachers=["small", "bigg"]', "unknown teacher of .* 'bigg'; did you mean 'big'?"),
    ],
)
def test_names_that_are_no_experts(method: str, arguments: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        distiller(f"ce + {method}({arguments})")


@pytest.mark.parametrize("method", METHODS)
def test_one_teacher_is_too_few(method: str) -> None:
    setting = make_setting()
    objective = f'ce + {method}(teachers=["small", "big"])'
    for given in ({"teacher": setting.teacher}, {"big": setting.teacher}):
        with pytest.raises(
            LimbeckError, match=f"{method} learns from 2 teachers, and one was given; give each"
        ) as it:
            distiller(objective, dict(given))
        assert "--teacher small=... --teacher big=..." in str(it.value)
    with pytest.raises(LimbeckError, match=f"{method} learns from 2 teachers, and none was given; give each"):
        distiller(objective, {})


@pytest.mark.parametrize("method", METHODS)
def test_a_teacher_that_is_left_out_is_told(method: str) -> None:
    with pytest.raises(LimbeckError, match="does not read the teacher 'mid'; leave it out"):
        distiller(f'ce + {method}(teachers=["small", "big"])')


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", [("big", "mid", "small"), ("small", "big", "mid"), ("mid", "small", "big")])
def test_another_order_than_by_size_is_refused_with_the_right_one(
    method: str, order: tuple[str, ...]
) -> None:
    setting = make_setting()
    sizes = {name: sum(p.numel() for p in network.parameters()) for name, network in setting.named.items()}
    names = ", ".join(f'"{name}"' for name in order)
    with pytest.raises(LimbeckError) as caught:
        distiller(f"{method}(teachers=[{names}])")
    assert str(caught.value) == (
        f"{method}: teachers goes from the smallest to the largest, and their parameters are "
        f'{", ".join(f"{name} {sizes[name]:,}" for name in order)}; write teachers=["small", "mid", "big"]'
    )


def test_equals_may_stand_either_way_round() -> None:
    setting = make_setting()
    teachers: dict[str, object] = dict.fromkeys(("one", "other"), setting.named["big"])
    for names in ('"one", "other"', '"other", "one"'):
        assert distiller(f"ce + dgkd(teachers=[{names}])", teachers).teachers.keys() == teachers.keys()


def test_a_teacher_that_cannot_be_counted_may_stand_anywhere() -> None:
    named = make_setting().named
    teachers: dict[str, object] = {**named, "mid": NetworkOfOthers(named["mid"])}
    made = distiller('dgkd(teachers=["mid", "small", "big"])', teachers)
    assert list(made.teachers) == ["small", "mid", "big"]
    with pytest.raises(LimbeckError, match=r'write teachers=\["mid", "small", "big"\]'):
        distiller('dgkd(teachers=["mid", "big", "small"])', teachers)
