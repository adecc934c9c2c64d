from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from method_setting import make_setting
from token_networks import Attending, WordNet, tiny_bert
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import pkd
from limbeck.methods import PKD

TARGETS = torch.tensor([0, 2, 1])


def method_of(distiller: Distiller) -> PKD:
    return next(method for method in distiller.objective.wrapped if isinstance(method, PKD))


def naive(ours: Tensor, theirs: Tensor, normalize: bool = True) -> float:
    values = []
    for own, other in zip(ours.tolist(), theirs.tolist(), strict=True):
        lengths = [math.hypot(*row) if normalize else 1.0 for row in (own, other)]
        values += [(x / lengths[0] - y / lengths[1]) ** 2 for x, y in zip(own, other, strict=True)]
    return math.fsum(values) / len(values)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_value(normalize: bool) -> None:
    ours, theirs = torch.randn(2, 3, 5, dtype=torch.float64)
    assert pkd(ours, theirs, normalize).item() == pytest.approx(naive(ours, theirs, normalize), rel=1e-12)
    assert pkd(ours, 3 * ours).item() == pytest.approx(0, abs=1e-15)


def test_states_of_two_widths_are_refused() -> None:
    with pytest.raises(
        LimbeckError, match=r"states of one shape, not \(2, 3\) and \(2, 4\); bring the student's"
    ):
        pkd(torch.randn(2, 3), torch.randn(2, 4))


def stages_of(network: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    first = network.get_submodule("layer1")(network.get_submodule("words")(inputs["input_ids"]))
    return [first, network.get_submodule("layer2")(first)]


@pytest.mark.parametrize("state", ["first", "mean"])
def test_layers_are_compared_by_the_first_token_or_by_the_mean_of_all(state: str) -> None:
    torch.manual_seed(0)
    inputs = WordNet.batch(padding=2)
    student, teacher = WordNet(4).double(), WordNet(4).double()
    given = "" if state == "first" else 'state="mean", '
    distiller = Distiller(student, teacher, f"pkd({given}deepest=true)", example=inputs)
    found = distiller(inputs, TARGETS).total.item()
    expected = []
    with torch.no_grad():
        for ours, theirs in zip(stages_of(student, inputs), stages_of(teacher, inputs), strict=True):
            if state == "first":
                pair = ours[:, 0], theirs[:, 0]
            else:
                lengths = inputs["attention_mask"].sum(1).tolist()
                pair = tuple(  # type: ignore[assignment]
                    torch.stack([row[:length].mean(0) for row, length in zip(stage, lengths, strict=True)])
                    for stage in (ours, theirs)
                )
            expected.append(naive(*pair))
    assert found == pytest.approx(math.fsum(expected) / 2, rel=1e-9)
    assert not list(method_of(distiller).parameters())


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ("", [(0, 1), (1, 2)]),
        ("deepest=true", [(0, 1), (1, 2), (2, 3)]),
        ('mapping="last"', [(0, 1), (1, 2)]),
        ('mapping="last", deepest=true', [(0, 1), (1, 2), (2, 3)]),
        ("pairs=[[0, 3], [-1, 0]]", [(0, 3), (-1, 0)]),
    ],
)
def test_which_layers_go_together(arguments: str, places: list[tuple[int, int]]) -> None:
    distiller = Distiller(Attending(4, 3), Attending(6, 4), f"pkd({arguments})", example=WordNet.batch())
    method = method_of(distiller)
    assert method.places == places
    assert [cast(nn.Linear, each).weight.shape for each in method.projections] == [(6, 4)] * len(places)


def test_the_teacher_may_read_other_tokens() -> None:
    torch.manual_seed(0)
    inputs, others = WordNet.batch(), WordNet.batch(padding=3)
    distiller = Distiller(WordNet(4), WordNet(4), "ce + pkd", example=inputs, teacher_example=others)
    losses = distiller(Batch(inputs, TARGETS, teacher_inputs={"teacher": others}))
    assert losses["pkd"].item() > 0


def test_maps_are_compared_by_their_means() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("pkd").eval()
    found = distiller(setting.inputs, setting.targets).total
    (projection,) = method_of(distiller).projections
    with torch.no_grad():
        ours = projection(distiller.student.get_submodule("stage1")(setting.inputs).mean((2, 3)))
        theirs = setting.teacher.eval().stage1(setting.inputs).mean((2, 3))
    assert found.item() == pytest.approx(naive(ours, theirs), rel=1e-9)


def test_a_bert() -> None:
    torch.manual_seed(0)
    inputs = WordNet.batch()
    student, teacher = tiny_bert(2, 8).eval(), tiny_bert(4, 8)
    found = Distiller(student, teacher, "pkd", example=inputs).eval()(inputs, TARGETS).total
    with torch.no_grad():
        states = [
            network(**inputs, output_hidden_states=True).hidden_states
            for network in (student, teacher.eval())
        ]
    assert found.item() == pytest.approx(naive(states[0][1][:, 0], states[1][2][:, 0]), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('pairs=[[0, 1]], mapping="last"', "pairs say which stages are compared; leave mapping out"),
        ("pairs=[[0, 1]], deepest=true", "pairs say which stages are compared; leave deepest out"),
        ('state="cls"', "'first' or 'mean'"),
        ('state="first"', r"the first token of hidden states .* write pkd\(state=\"mean\"\)"),
        ("pairs=[[2, 0]]", "pkd asks for stage 2 of the student, whose stages are 0 to 1"),
    ],
)
def test_arguments_that_it_refuses(arguments: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller(f"ce + pkd({arguments})")


def test_a_student_of_one_stage_and_a_teacher_of_fewer_are_refused() -> None:
    example = WordNet.batch()
    features = {"stages": ["layer2"]}
    with pytest.raises(LimbeckError, match=r"the student has one stage; write pkd\(deepest=true\)"):
        Distiller(WordNet(4), WordNet(4), "pkd", example=example, student_features=features)
    with pytest.raises(LimbeckError, match="each of the student's 4 stages has one of the teacher's last"):
        Distiller(Attending(4, 4), Attending(4, 2), 'pkd(mapping="last")', example=example)
