from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from method_setting import Answers, Scaled, SmallNet, make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import cross_entropy, guided, kd
from limbeck.methods import EKD
from limbeck.methods.ekd import Guide
from limbeck.optimization import SGD
from limbeck.outputs import UNLABELED


def sides(size: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ours, theirs = (
        torch.randn(3, 2, side, side, generator=generator, dtype=torch.float64) for side in (size, 4)
    )
    logits = 2 * torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    return ours, theirs, logits[0], logits[1]


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(z / temperature) for z in row]
    return [power / math.fsum(powers) for power in powers]


def naive(
    ours: Tensor, theirs: Tensor, logits: Tensor, taught: Tensor, b: float, c: float, t: float
) -> float:
    pairs = zip(ours.flatten().tolist(), theirs.flatten().tolist(), strict=True)
    difference = math.fsum((x - y) ** 2 for x, y in pairs) / ours.numel()
    divergence = 0.0
    for row, known in zip(logits.tolist(), taught.tolist(), strict=True):
        divergence += math.fsum(
            q * math.log(q / p) for q, p in zip(softmax(known, t), softmax(row, t), strict=True)
        )
    return b * difference + c * t**2 * divergence / len(logits)


@pytest.mark.parametrize(("b", "c", "t"), [(1, 1, 1), (0.5, 3, 4), (0, 1, 2), (2, 0, 1)])
def test_a_guided_module_asks_for_features_and_predictions(b: float, c: float, t: float) -> None:
    found = guided(*sides(), b, c, t)
    assert found.item() == pytest.approx(naive(*sides(), b, c, t), rel=1e-12)


def test_the_larger_map_is_averaged_to_the_smaller() -> None:
    ours, theirs, logits, taught = sides(size=2)
    smaller = theirs.view(3, 2, 2, 2, 2, 2).mean((3, 5))
    assert guided(ours, theirs, logits, taught).item() == pytest.approx(
        naive(ours, smaller, logits, taught, 1, 1, 1), rel=1e-12
    )


def test_no_gradient_flows_into_the_side_that_is_followed() -> None:
    ours, theirs, logits, taught = (tensor.requires_grad_() for tensor in sides())
    guided(ours, theirs, logits, taught).backward()  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert logits.grad is not None
    assert theirs.grad is None
    assert taught.grad is None


def test_with_feedback_it_flows_into_both_sides() -> None:
    ours, theirs, logits, taught = (tensor.requires_grad_() for tensor in sides())
    each = ours, theirs, logits, taught
    guided(ours, theirs, logits, taught, feedback=True).backward()  # type: ignore[no-untyped-call]
    expected = [tensor.detach().clone().requires_grad_() for tensor in each]
    ours, theirs, logits, taught = expected
    kl = (taught.softmax(1) * (taught.log_softmax(1) - logits.log_softmax(1))).sum(1).mean()
    ((ours - theirs).square().mean() + kl).backward()  # type: ignore[no-untyped-call]
    for found, known in zip(each, expected, strict=True):
        torch.testing.assert_close(found.grad, known.grad)


@pytest.mark.parametrize("feedback", [False, True])
def test_the_copy_learns_from_the_student_where_it_is_asked_to(feedback: bool) -> None:
    setting = make_setting()
    said = str(feedback).lower()
    distiller = setting.distiller(f"ekd(guided_ce=0, feedback={said})")
    losses = distiller(setting.inputs, setting.targets)
    (method,) = (each for each in distiller.objective.modules() if isinstance(each, EKD))
    term = losses["ekd.kd"] + losses["ekd.guided"]
    copied = [p for p in method.evolving.parameters() if p.requires_grad]
    found = torch.autograd.grad(term, copied, allow_unused=True)
    assert any(each is not None for each in found) == feedback


def test_shapes_that_it_refuses() -> None:
    ours, theirs, logits, taught = sides()
    with pytest.raises(LimbeckError, match=r"guided: teacher_maps has the shape \(3, 32\) and must have"):
        guided(ours, theirs.flatten(1), logits, taught)
    with pytest.raises(LimbeckError, match="guided compares the same samples, not 3 and 2 of them"):
        guided(ours, theirs[:2], logits, taught)
    with pytest.raises(LimbeckError, match=r"kd compares logits of one shape, not \(3, 5\) and \(3, 4\)"):
        guided(ours, theirs, logits, taught[:, :4])
    with pytest.raises(LimbeckError, match="compares tensors of one shape"):
        guided(ours, theirs[:, :1], logits, taught)


def method_of(distiller: Distiller) -> EKD:
    return next(method for method in distiller.objective.wrapped if isinstance(method, EKD))


def stages_of(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    first = network.get_submodule("stage1")(inputs)
    return [first, network.get_submodule("stage2")(first)]


TEXT = "ekd(kd=0.7, temperature=3, features=0.5, predictions=2, guided_temperature=2, guided_ce=0.25)"


def test_the_terms_are_the_equations() -> None:
    setting = make_setting(dtype=torch.float64)
    targets = setting.targets.clone()
    targets[2] = UNLABELED
    distiller = setting.distiller(TEXT).eval()
    method = method_of(distiller)
    with torch.no_grad():  # so that the copy is not the teacher any more
        for parameter in method.evolving.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    losses = distiller(setting.inputs, targets)

    labeled = targets != UNLABELED

    def ce(logits: Tensor) -> float:
        return F.cross_entropy(logits[labeled], targets[labeled], reduction="sum").item() / len(targets)

    expected = dict.fromkeys(("guided", "guided_ce", "teacher.guided_ce"), 0.0)
    with torch.no_grad():
        ours, theirs = distiller.student(setting.inputs), method.evolving(setting.inputs)
        expected["kd"] = kd(ours, theirs, 3.0).item()
        expected["teacher.ce"] = ce(theirs)
        for place in range(2):
            answers = []
            for network, guides in (
                (distiller.student, method.student_guides),
                (method.evolving, method.teacher_guides),
            ):
                convolution, norm, _ = guides.get_submodule(f"{place}.convolution").children()
                maps = norm(convolution(stages_of(network, setting.inputs)[place])).clamp(min=0)
                classifier = cast(nn.Linear, guides.get_submodule(f"{place}.classifier"))
                answers.append((maps, maps.mean((2, 3)) @ classifier.weight.T + classifier.bias))
            (maps, logits), (seen, taught) = answers
            expected["guided"] += naive(maps, seen, logits, taught, 0.5, 2.0, 2.0)
            expected["guided_ce"] += ce(logits)
            expected["teacher.guided_ce"] += ce(taught)
    found = {name.removeprefix("ekd."): value.item() for name, value in losses.items()}
    assert found == pytest.approx(expected, rel=1e-10)
    weights = {"kd": 0.7, "guided_ce": 0.25, "teacher.guided_ce": 0.25}
    total = sum(weights.get(name, 1.0) * value for name, value in expected.items())
    assert losses.total.item() == pytest.approx(total, rel=1e-10)


def test_who_learns_from_what() -> None:
    setting = make_setting()
    distiller = setting.distiller("ekd")
    method = method_of(distiller)
    parts = {
        "student": distiller.student,
        "student's guides": method.student_guides,
        "copy": method.evolving,
        "copy's guides": method.teacher_guides,
    }
    ours = {"student", "student's guides"}
    reached = {
        "kd": {"student"},
        "guided": ours,
        "guided_ce": ours,
        "teacher.ce": {"copy"},
        "teacher.guided_ce": {"copy", "copy's guides"},
    }
    losses = distiller(setting.inputs, setting.targets)
    for term, learners in reached.items():
        distiller.zero_grad()
        losses[f"ekd.{term}"].backward(retain_graph=True)
        found = {
            name
            for name, part in parts.items()
            if any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
        }
        assert found == learners, term


def test_the_weight_of_the_objective_is_the_students() -> None:
    setting = make_setting()
    plain = setting.distiller("ekd").eval()(setting.inputs, setting.targets)
    half = setting.distiller("0.5*ekd").eval()(setting.inputs, setting.targets)
    own = plain["ekd.teacher.ce"] + plain["ekd.teacher.guided_ce"]
    assert half.total.item() == pytest.approx(((plain.total + own) / 2).item(), rel=1e-6)


def test_the_copy_learns_and_the_teacher_never_changes() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + ekd")
    method = method_of(distiller)
    assert distiller.teacher is not None
    teacher = distiller.teacher.network
    assert teacher is not None
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    start = {name: tensor.clone() for name, tensor in method.evolving.state_dict().items()}
    assert all(torch.equal(before[name], start[name]) for name in before)
    optimizer = distiller.optimizer(SGD(lr=0.05))
    distiller.train()
    first = None
    for _ in range(20):
        losses = distiller(setting.inputs, setting.targets)
        first = first or losses["ekd.teacher.ce"].item()
        losses.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses["ekd.teacher.ce"].item() < first
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    for name, tensor in method.evolving.state_dict().items():
        assert not torch.equal(start[name], tensor), f"{name} of the copy has not learned"
    assert all(module.training for module in method.evolving.modules())
    assert not any(module.training for module in teacher.modules())
    distiller.eval()
    assert not any(module.training for module in method.evolving.modules())


def test_the_teacher_is_not_run_in_training() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + ekd")
    assert distiller.teacher is not None
    bound = distiller.teacher.shown
    distiller(setting.inputs, setting.targets)
    assert distiller.teacher.shown == bound
    beside = setting.distiller("ce + ekd + kd")
    assert beside.teacher is not None
    beside(setting.inputs, setting.targets)
    assert beside.teacher.shown == bound + len(setting.inputs)


def test_from_fresh_weights_nothing_but_the_architecture_is_the_teachers() -> None:
    setting = make_setting()
    with torch.no_grad():
        for buffer in setting.teacher.buffers():
            buffer.add_(1)
    evolving = method_of(setting.distiller('ekd(start="fresh")')).evolving
    for name, parameter in setting.teacher.named_parameters():
        same = torch.equal(parameter, evolving.get_parameter(name))
        assert same == (".1." in name), name  # batch norm starts from 1 and 0
    assert cast(Tensor, evolving.get_submodule("stage1.1").running_mean).eq(0).all()
    assert type(evolving) is SmallNet


def test_a_student_in_half_precision_has_a_copy_in_full() -> None:
    setting = make_setting(dtype=torch.bfloat16)
    distiller = setting.distiller("ekd")
    losses = distiller(setting.inputs, setting.targets)
    losses.backward()
    assert {parameter.dtype for parameter in method_of(distiller).parameters()} == {torch.float32}
    assert losses.total.isfinite()


def test_what_it_refuses() -> None:
    setting = make_setting()
    example = setting.inputs[:2]
    with pytest.raises(LimbeckError, match="ekd makes a copy of the teacher's network, and this teacher has"):
        Distiller(setting.student, Answers(), "ce + ekd", example=example)
    with pytest.raises(
        LimbeckError, match=r'fresh weights: the network \(Scaled\) has.* or write ekd\(start="teacher"\)'
    ):
        Distiller(setting.student, Scaled(), 'ekd(start="fresh")', example=example)
    with pytest.raises(LimbeckError, match="ekd learns from a teacher, and none was given"):
        Distiller(setting.student, None, "ce + ekd", example=example)
    with pytest.raises(LimbeckError, match='ekd: the argument start="new" should be'):
        setting.distiller('ekd(start="new")')
    with pytest.raises(LimbeckError, match="ekd asks for stage 2 of the student, whose stages are 0 to 1"):
        setting.distiller("ekd(pairs=[[2, 0]])")


def test_stages_are_never_paired_by_chance() -> None:
    setting = make_setting()
    features = {"stages": ["stage2"]}

    def distiller(objective: str) -> Distiller:
        return Distiller(
            copy.deepcopy(setting.student),
            copy.deepcopy(setting.teacher),
            objective,
            example=setting.inputs[:2],
            student_features=features,
        )

    with pytest.raises(LimbeckError, match=r"the student has 1 and the teacher 2; say which go together"):
        distiller("ekd")
    method = method_of(distiller("ekd(pairs=[[0, -1]], width=2)"))
    assert len(method.student_guides) == len(method.teacher_guides) == 1
    shapes = [
        cast(Guide, guides[0]).convolution.get_parameter("0.weight").shape
        for guides in (method.student_guides, method.teacher_guides)
    ]
    assert shapes == [(2, 6, 3, 3), (2, 8, 3, 3)]


def test_stages_without_maps_are_refused() -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))

    with pytest.raises(
        LimbeckError, match=r"ekd has guided modules on maps .* and the student.s stages are no maps; take kd"
    ):
        Distiller(network(), network(), "ekd", example=torch.rand(2, 6))


def test_one_of_several_teachers_is_copied_and_the_others_answer() -> None:
    setting = make_setting()
    distiller = Distiller(
        setting.student,
        {"small": SmallNet(2), "big": setting.teacher},
        'kd(teacher="small") + ekd(teacher="big")',
        example=setting.inputs[:2],
    )
    evolving = method_of(distiller).evolving
    assert torch.equal(evolving.get_parameter("classifier.weight"), setting.teacher.classifier.weight)
    losses = distiller(setting.inputs, setting.targets)
    small = cast(nn.Module, distiller.teachers["small"].network)
    with torch.no_grad():
        expected = kd(distiller.student.eval()(setting.inputs), small(setting.inputs))
    again = distiller.eval()(setting.inputs, setting.targets)
    assert losses.total.isfinite()
    assert again["kd"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_copy_reads_the_teachers_own_preparation() -> None:
    setting = make_setting()
    distiller = setting.distiller("ekd").eval()
    other = setting.inputs.flip(-1)
    batch = Batch(setting.inputs, setting.targets)
    losses = distiller(replace(batch, teacher_inputs={"teacher": other}))
    logits = method_of(distiller).evolving(other)
    found = losses["ekd.teacher.ce"].item()
    assert found == pytest.approx(cross_entropy(logits, setting.targets).item(), rel=1e-5)
    assert found != distiller(batch)["ekd.teacher.ce"].item()
