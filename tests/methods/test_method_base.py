"""Method and Objective: names, arguments, sums, printing, and what an objective does with its terms."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import Batch, LimbeckError, Outputs
from limbeck.arguments import Count
from limbeck.methods import CE, KD, LabelSmoothing, Method, Objective, Reads, Term
from limbeck.methods.base import inner_first
from limbeck.methods.declarations import NOTHING, LossTerms

STUDENT, TEACHER = Outputs(logits=torch.zeros(2, 3)), Outputs(logits=torch.ones(2, 3))
BATCH = Batch(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))


class Plain(Method):
    """A method without arguments that returns a constant."""

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        return torch.tensor(2.0)


class Several(Method):
    """A method with terms of every kind, and arguments of some."""

    name = "many_terms"
    kind = "task"

    def __init__(self, widths: tuple[int, ...] = (1,), *, other: Method | None = None, tag: str = "") -> None:
        super().__init__()
        self.other = other

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        return {
            "plain": torch.tensor(1.0),
            "far": Term(torch.tensor(2.0), "distillation", 0.5),
            "own": Term(torch.tensor(3.0), "own"),
            "seen": Term(torch.tensor(4.0), "monitor"),
        }


class Gathering(Method):
    """Wraps any number of objectives."""

    reads = Reads(student=("stages",), teacher=("logits",), views=("far",))

    def __init__(self, *bases: Method, steps: Count = 1) -> None:
        super().__init__()
        self.bases = nn.ModuleList(bases)

    @property
    def wrapped(self) -> Iterator[Method]:
        return (base for base in self.bases if isinstance(base, Method))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        return {
            name: term for base in self.wrapped for name, term in base.terms(student, teacher, batch).items()
        }


class Heir(KD):
    """A method that changes nothing of the one it comes from."""


class Bare(Method):
    """A method that its author has not finished."""


class Parts(Method):
    """A method with a trainable part and a buffer, that ships another network than the student."""

    def __init__(self, tag: str = "a") -> None:
        super().__init__()
        self.tag = tag
        self.linear = nn.Linear(2, 2)
        self.register_buffer("counts", torch.full((2,), 1e30))
        self.register_buffer("ids", torch.tensor([2**40 + 1]))

    def deploy(self, student: nn.Module) -> nn.Module:
        return nn.Sequential(student, nn.Flatten() if self.tag == "a" else nn.Identity())

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return torch.tensor(0.0)


def terms_of(method: Method) -> dict[str, tuple[float, str, float]]:
    """(value, kind, weight) by name."""
    found = method.terms(STUDENT, TEACHER, BATCH)
    return {name: (term.value.item(), term.kind, term.weight) for name, term in found.items()}


def test_a_name_is_the_classs_in_lower_case_unless_set() -> None:
    assert [method.name for method in (Plain, Several, Heir, LabelSmoothing)] == [
        "plain",
        "many_terms",
        "heir",
        "label_smoothing",
    ]
    assert (Heir.kind, Heir.recipe) == (KD.kind, KD.recipe)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (Plain(), "plain"),
        (KD(), "kd"),
        (KD(4), "kd(temperature=4)"),
        (KD(4.0), "kd(temperature=4.0)"),
        (KD(temperature=4), "kd(temperature=4)"),
        (Heir(temperature=2), "heir(temperature=2)"),
        (Several((1, 2)), "many_terms(widths=[1, 2])"),
        (Several(tag='a "b"\r\n'), 'many_terms(tag="a \\"b\\"\\r\\n")'),
        (Several(other=KD()), "many_terms(other=kd)"),
        (Several(other=0.5 * KD(2) + CE()), "many_terms(other=0.5*kd(temperature=2) + ce)"),
        (Gathering(), "gathering"),
        (Gathering(KD(), 2 * CE()), "gathering(kd, 2*ce)"),
        (Gathering(KD() + CE(), steps=3), "gathering(kd + ce, steps=3)"),
        (0.1 * CE() + 0.9 * KD(temperature=4), "0.1*ce + 0.9*kd(temperature=4)"),
        (0.5 * (0.2 * CE() + KD()), "0.1*ce + 0.5*kd"),
        (CE() * 2 + KD() * 0 + Plain(), "2*ce + 0*kd + plain"),
        (0.5 * Gathering(0.5 * CE()), "0.5*gathering(0.5*ce)"),
    ],
)
def test_printed_as_it_was_given(method: Method, text: str) -> None:
    assert str(method) == text
    assert str(copy.deepcopy(method)) == text


def test_arguments_are_kept_as_given() -> None:
    assert KD(4).given == {"temperature": 4}
    assert KD().given == {}
    assert Gathering(first := KD()).given == {"bases": (first,)}


@pytest.mark.parametrize(
    ("make", "args", "kwargs", "message"),
    [
        (KD, [], {"temperature": 0}, "kd: the argument temperature=0 should be greater than 0"),
        (Heir, [], {"temperature": 0}, "heir: the argument temperature=0 should be greater than 0"),
        (
            Heir,
            [],
            {"temprature": 1},
            "unknown argument of heir: 'temprature'; did you mean 'temperature'?",
        ),
        (Plain, [1], {}, "plain: too many positional arguments"),
        (Gathering, [CE(), 3], {}, "gathering: bases must be an objective, not 3"),
        (
            Gathering,
            [],
            {"steps": 0},
            "gathering: the argument steps=0 should be greater than or equal to 1",
        ),
    ],
)
def test_wrong_arguments(make: Any, args: list[Any], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        make(*args, **kwargs)
    assert str(caught.value) == message


def test_given_arguments_survive_a_copy_and_a_pickle() -> None:
    objective = 0.5 * KD(temperature=3) + CE()
    for twin in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
        assert str(twin) == str(objective)
        assert [method.given for method in twin.wrapped] == [{"temperature": 3}, {}]


def test_a_constant_is_a_term_of_the_methods_kind() -> None:
    assert terms_of(Plain()) == {"plain": (2.0, "distillation", 1.0)}
    assert terms_of(Several()) == {
        "many_terms.plain": (1.0, "task", 1.0),
        "many_terms.far": (2.0, "distillation", 0.5),
        "many_terms.own": (3.0, "own", 1.0),
        "many_terms.seen": (4.0, "monitor", 1.0),
    }


def test_a_sum_weighs_its_terms() -> None:
    assert terms_of(0.5 * Plain() + 3 * Several()) == {
        "plain": (2.0, "distillation", 0.5),
        "many_terms.plain": (1.0, "task", 3.0),
        "many_terms.far": (2.0, "distillation", 1.5),
        "many_terms.own": (3.0, "own", 1.0),
        "many_terms.seen": (4.0, "monitor", 1.0),
    }


def test_an_objective_stands_wherever_a_method_can() -> None:
    objective = 0.5 * Plain() + Several()
    assert objective(STUDENT, TEACHER, BATCH).keys() == objective.terms(STUDENT, TEACHER, BATCH).keys()


def test_repeated_names_are_numbered() -> None:
    objective = Plain() + 2 * Several() + 3 * Plain() + 4 * Several() + 5 * Plain()
    assert objective.labels == ["plain", "many_terms", "plain_2", "many_terms_2", "plain_3"]
    weights = {name: weight for name, (_, _, weight) in terms_of(objective).items()}
    assert {name: weights[name] for name in ("plain", "plain_2", "plain_3")} == {
        "plain": 1,
        "plain_2": 3,
        "plain_3": 5,
    }
    assert (weights["many_terms.plain"], weights["many_terms_2.plain"]) == (2, 4)
    assert len(weights) == 3 + 2 * 4


def test_a_wrapper_names_and_weighs_what_is_inside() -> None:
    assert terms_of(3 * Gathering(0.5 * Plain() + 2 * Plain(), Several())) == {
        "gathering.plain": (2.0, "distillation", 1.5),
        "gathering.plain_2": (2.0, "distillation", 6.0),
        "gathering.many_terms.plain": (1.0, "task", 3.0),
        "gathering.many_terms.far": (2.0, "distillation", 1.5),
        "gathering.many_terms.own": (3.0, "own", 1.0),
        "gathering.many_terms.seen": (4.0, "monitor", 1.0),
    }


def test_sums_of_sums_are_flat() -> None:
    first, second, third = CE(), KD(), Plain()
    objective = 2 * (first + 0.5 * second) + third
    assert objective.summands == [(2.0, first), (1.0, second), (1.0, third)]
    assert list(objective.wrapped) == [first, second, third]
    assert Objective([(0.1, 0.2 * first)]).weights == [0.02]
    assert (first + (second + third)).weights == [1, 1, 1]


def test_adding_makes_a_new_objective() -> None:
    objective = CE() + KD()
    longer = 0.5 * objective + Plain()
    assert str(objective) == "ce + kd"
    assert str(longer) == "0.5*ce + 0.5*kd + plain"


@pytest.mark.parametrize("weight", [-1, -1e-9, float("nan"), float("inf")])
def test_a_weight_is_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(LimbeckError, match=r"^a weight must be a finite number of at least 0, not"):
        weight * CE()


def test_weights_that_overflow_together() -> None:
    with pytest.raises(LimbeckError, match="not inf"):
        1e308 * (1e308 * CE())


def test_only_objectives_are_summed_and_only_numbers_weigh() -> None:
    ce: Any = CE()
    with pytest.raises(TypeError):
        ce + 3
    with pytest.raises(TypeError):
        3 + ce
    for wrong in ("a", KD(), None):
        with pytest.raises(LimbeckError, match=r"^objective: the argument summands="):
            ce * wrong
    with pytest.raises(LimbeckError, match="an objective needs at least one term, for example ce"):
        Objective([])
    with pytest.raises(LimbeckError, match=r"^objective: summands must be an objective"):
        Objective([(1.0, KD)])  # type: ignore[list-item]


def test_inner_methods_come_first() -> None:
    inner = Gathering(CE(), KD())
    objective = Plain() + inner
    order = [method.name for method in inner_first(objective)]
    assert order == ["plain", "ce", "kd", "gathering", "objective"]


def test_what_an_objective_reads_is_what_its_methods_read() -> None:
    assert Objective.reads == NOTHING
    assert (CE() + KD()).all_reads == Reads(student=("logits",), teacher=("logits",), batch=("targets",))
    assert Gathering(CE(), KD()).all_reads == Reads(
        student=("stages", "logits"), teacher=("logits",), batch=("targets",), views=("far",)
    )


def test_defaults() -> None:
    method, student = Plain(), nn.Linear(2, 2)
    assert (list(method.phases()), list(method.claims()), list(method.wrapped)) == ([], [], [])
    assert method.deploy(student) is student
    assert list(method.parameters()) == []
    assert method.min_samples == 1
    with pytest.raises(NotImplementedError, match="Bare has no forward"):
        Bare().terms(STUDENT, TEACHER, BATCH)


def test_what_is_shipped_passes_through_every_method() -> None:
    student = nn.Linear(2, 2)
    assert (CE() + Gathering(KD())).deploy(student) is student
    shipped = (Parts("a") + Gathering(Parts("b"))).deploy(student)
    assert [type(module).__name__ for module in shipped.modules()] == [
        "Sequential",
        "Sequential",
        "Linear",
        "Flatten",
        "Identity",
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_parts_stay_in_full_precision_to_the_last_bit(dtype: torch.dtype) -> None:
    objective = Parts() + Gathering(Parts())
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    objective.to(dtype)
    after = objective.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor), f"{name} was rounded"


def test_parts_follow_to_double_and_back_and_to_a_device() -> None:
    objective = 2 * Parts()
    assert {p.dtype for p in objective.double().parameters()} == {torch.float64}
    assert {p.dtype for p in objective.float().parameters()} == {torch.float32}
    assert {p.device.type for p in objective.to("meta").parameters()} == {"meta"}
    assert {p.device.type for p in (2 * Parts()).to("meta", torch.bfloat16).parameters()} == {"meta"}
