from __future__ import annotations

import copy
import math
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from method_setting import CLASSES, SAMPLES, SmallNet, make_setting
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import bss
from limbeck.methods import BSS, Networks
from limbeck.methods.bss import boundary_samples
from limbeck.models import Normalization, normalize_inputs
from limbeck.objective import parse
from limbeck.outputs import UNLABELED, Outputs, Progress
from limbeck.teachers import CachedTeacher, Ensemble, LiveTeacher, Teacher
from two_processes import run_in_two_processes


def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student, teacher = 3 * torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    return student, teacher


@pytest.mark.parametrize("counted", [None, [0, 2, 3], [5], []])
def test_it_is_the_equation(counted: list[int] | None) -> None:
    student, teacher = logits()
    rows = range(6) if counted is None else counted
    total = 0.0
    for row in rows:
        p, q = ([math.exp(z / 3) for z in each[row].tolist()] for each in (teacher, student))
        total += sum(
            a / sum(p) * math.log(a / sum(p) * sum(q) / b) for a, b in zip(p, q, strict=True)
        )  # no T^2
    mask = None if counted is None else torch.tensor([row in counted for row in range(6)])
    found = bss(student.requires_grad_(), teacher, mask)
    assert found.item() == pytest.approx(total / max(len(rows), 1), rel=1e-12)
    found.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.any(1).nonzero().flatten().tolist() == list(rows)


def test_a_mask_of_other_samples_is_refused() -> None:
    with pytest.raises(LimbeckError, match="bss compares the same samples, not 6 and 1 of them"):
        bss(*logits(), torch.tensor([True]))


WEIGHT = torch.tensor([[3.0, 0.0], [0.0, 4.0], [-5.0, 0.0]], dtype=torch.float64)
"""A linear teacher: the boundary of two classes is where their rows give as much."""


def linear(samples: Tensor) -> Tensor:
    return samples @ WEIGHT.T


def test_on_a_linear_teacher_a_sample_goes_where_the_closed_form_says() -> None:
    """Each step takes step * ||w|| of (g + overshoot) off g, until g is negative: g is a geometric series."""
    inputs = torch.tensor([[2.0, 0.5], [0.25, 1.5]], dtype=torch.float64)
    base, target = torch.tensor([0, 1]), torch.tensor([1, 0])
    difference = WEIGHT[base] - WEIGHT[target]  # of length 5 both
    gap = (inputs * difference).sum(1)
    assert gap.tolist() == [4.0, 5.25]
    for step, steps in ((0.1, 6), (0.1, 40), (0.25, 10), (0.1, 1)):
        found, reached = boundary_samples(linear, inputs, base, target, step, overshoot=0.01, steps=steps)
        for row in range(2):
            left, taken = gap[row].item(), 0
            while left > 0 and taken < steps:
                left, taken = (left + 0.01) * (1 - 5 * step) - 0.01, taken + 1
            expected = inputs[row] - (gap[row] - left) * difference[row] / 25
            torch.testing.assert_close(found[row], expected, rtol=1e-12, atol=1e-12)
            assert reached[row].item() == (left < 0)
    assert boundary_samples(linear, inputs, base, target, 0.1, 0.01, 40)[1].all()
    assert not boundary_samples(linear, inputs, base, target, 0.1, 0.01, 6)[1].any()


def test_the_full_step_lands_just_beyond_the_boundary() -> None:
    inputs = torch.tensor([[2.0, 0.5]], dtype=torch.float64)
    found, reached = boundary_samples(linear, inputs, torch.tensor([0]), torch.tensor([1]), step=0.2)
    scores = linear(found)[0]
    assert reached.item()
    assert scores[1].item() == pytest.approx(scores[0].item() + 1e-4, abs=1e-12)


def test_a_sample_that_enters_a_third_class_stops_and_has_not_reached_its_own() -> None:
    inputs = torch.tensor([[0.4, 0.1]], dtype=torch.float64)  # towards class 2 it comes through class 1
    found, reached = boundary_samples(linear, inputs, torch.tensor([0]), torch.tensor([2]), step=0.05)
    assert linear(found).argmax(1).tolist() == [1]
    assert not reached.item()


def test_what_is_not_in_its_base_class_stays() -> None:
    inputs = torch.tensor([[0.1, 2.0]], dtype=torch.float64)
    found, _ = boundary_samples(linear, inputs, torch.tensor([0]), torch.tensor([2]))
    assert torch.equal(found, inputs)


def test_a_sample_without_a_gradient_stays_and_is_finite() -> None:
    found, reached = boundary_samples(
        lambda x: torch.cat([1 + 0 * x, 0 * x], 1),
        torch.ones(2, 1),
        torch.zeros(2).long(),
        torch.ones(2).long(),
    )
    assert torch.equal(found, torch.ones(2, 1))
    assert not reached.any()


def test_limits_hold_steps_back_and_leave_what_is_beyond_them() -> None:
    inputs = torch.tensor([[0.9, 1.5], [0.9, 0.5]], dtype=torch.float64)
    slope = torch.tensor([[0.0, 0.0], [-1.0, -1.0]], dtype=torch.float64)
    found, _ = boundary_samples(
        lambda x: x @ slope.T + torch.tensor([0.0, -9.0]),
        inputs,
        torch.zeros(2).long(),
        torch.ones(2).long(),
        limits=(0.2, 1.0),
        step=0.2,
    )
    assert found.min() == 0.2, "moved down to the least"
    beyond, _ = boundary_samples(
        lambda x: x @ -slope.T + torch.tensor([0.0, -9.0]),
        inputs,
        torch.zeros(2).long(),
        torch.ones(2).long(),
        limits=(0.2, 1.0),
    )
    assert beyond.tolist() == [[1.0, 1.5], [1.0, 1.0]]


def test_steps_in_scaled_coordinates_are_those_of_a_network_of_scaled_inputs() -> None:
    inputs, scale = torch.rand(5, 2, dtype=torch.float64), torch.tensor([0.2, 0.5], dtype=torch.float64)
    base = linear(inputs / scale).argmax(1)
    target = (base + 1) % 3
    scaled, _ = boundary_samples(linear, inputs / scale, base, target)
    found, _ = boundary_samples(lambda x: linear(x / scale), inputs, base, target, scale=scale)
    torch.testing.assert_close(found, scaled * scale, rtol=1e-12, atol=1e-12)
    assert not torch.equal(found, inputs)


def test_a_teacher_without_a_gradient_is_refused() -> None:
    with pytest.raises(LimbeckError, match=r"along the gradient of the teacher's logits, and this .* none"):
        boundary_samples(
            lambda x: linear(x).detach(), torch.rand(1, 2).double(), torch.tensor([0]), torch.tensor([1])
        )


PROGRESS = Progress(7, 1, 0.3)


def steep(network: SmallNet) -> SmallNet:
    """The network with a classifier that a few steps can cross the boundaries of."""
    with torch.no_grad():
        network.classifier.weight.mul_(200)
        network.classifier.bias.zero_()
    return network


def made(objective: str, *, alike: bool = True, **settings: Any) -> tuple[Distiller, BSS, Batch]:
    """A distiller, and a batch that the teacher, and the student if they are alike, mostly get right."""
    setting = make_setting(objective, dtype=torch.float64, **settings)
    steep(setting.teacher)
    if alike:
        setting.student = copy.deepcopy(setting.teacher)
        with torch.no_grad():
            setting.student.classifier.weight.add_(
                4 * torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(1)).double()
            )
    distiller = setting.distiller(objective)
    assert distiller.teacher is not None
    assert distiller.teacher.network is not None
    distiller.student.eval()
    targets = distiller.teacher.network(setting.inputs).argmax(1)
    targets[2], targets[5] = (targets[2] + 1) % CLASSES, UNLABELED  # which it has wrong, or not at all
    method = next(part for part in distiller.objective.wrapped if isinstance(part, BSS))
    return distiller, method, Batch(setting.inputs, targets, torch.arange(SAMPLES), progress=PROGRESS)


def collected(distiller: Distiller, method: BSS, batch: Batch) -> tuple[Tensor, list[int]]:
    """The boundary samples, and which of them were moved."""
    with torch.no_grad():
        view = method.collect(batch, Networks(distiller.student, distiller.teachers)).views["boundary"]
    assert isinstance(view, Tensor)
    assert isinstance(batch.inputs, Tensor)
    return view, (view != batch.inputs).flatten(1).any(1).nonzero().flatten().tolist()


def test_the_samples_are_those_both_have_right_and_most_apart() -> None:
    distiller, method, batch = made("bss(keep_failed=True)")
    assert distiller.teacher is not None
    teacher = distiller.teacher.network
    assert teacher is not None
    assert batch.targets is not None
    with torch.no_grad():
        ours, theirs = (net(batch.inputs).softmax(1).tolist() for net in (distiller.student, teacher))
    scored = []
    for row, label in enumerate(batch.targets.tolist()):
        if all(each[row].index(max(each[row])) == label for each in (ours, theirs)):
            apart = [(p - q) ** 2 for p, q in zip(ours[row], theirs[row], strict=True)]
            scored.append((sum(apart) - apart[label], row))
    expected = [row for _, row in sorted(scored, reverse=True)]
    assert 3 < len(expected) < SAMPLES - 2
    assert {2, 5}.isdisjoint(expected)
    assert collected(distiller, method, batch)[1] == sorted(expected)
    method.most = 3
    assert collected(distiller, method, batch)[1] == sorted(expected[:3])
    method.most, method.right = 64, "teacher"
    assert collected(distiller, method, batch)[1] == [row for row in range(SAMPLES) if row not in (2, 5)]


def test_a_moved_sample_is_where_the_attack_on_the_teacher_leads() -> None:
    distiller, method, batch = made('bss(target="second", step=0.2, steps=5, overshoot=0.01)')
    teacher = distiller.teacher.network  # type: ignore[union-attr]
    assert teacher is not None
    view, moved = collected(distiller, method, batch)
    assert isinstance(batch.inputs, Tensor)
    scores = teacher(batch.inputs)
    order = scores.argsort(1, descending=True)
    method.keep_failed = True
    _, chosen = collected(distiller, method, batch)
    reached = []
    for row in chosen:
        sample = batch.inputs[row : row + 1].clone()
        for _ in range(5):
            sample.requires_grad_()
            base, second = teacher(sample)[0, order[row, :2]]
            if teacher(sample)[0].argmax() != order[row, 0]:
                break
            (slope,) = torch.autograd.grad(base - second, sample)
            sample = (sample - 0.2 * (base - second + 0.01) * slope / slope.norm()).detach().clamp(0, 1)
        if teacher(sample)[0].argmax() == order[row, 1]:
            reached.append(row)
            torch.testing.assert_close(view[row : row + 1], sample.detach())
    assert reached == moved
    assert 0 < len(moved) < len(chosen), "some fail, and stay as they are"


def test_steps_are_in_the_coordinates_of_the_teacher_s_normalization() -> None:
    found = []
    for normalized in (True, False):
        setting = make_setting(dtype=torch.float64)
        teacher = steep(setting.teacher)
        if normalized:
            normalize_inputs(teacher, Normalization((0.5,), (0.25,)))
        inputs = setting.inputs if normalized else (setting.inputs - 0.5) / 0.25
        distiller = Distiller(
            setting.student,
            teacher,
            'bss(right="teacher", limits=[], keep_failed=True)',
            example=inputs[:2],
        )
        method = cast("BSS", next(distiller.objective.wrapped))
        method.draws.zero_()
        targets = distiller.teacher.network(inputs).argmax(1)  # type: ignore[union-attr, misc]
        view, moved = collected(distiller, method, Batch(inputs, targets, progress=PROGRESS))
        assert len(moved) == SAMPLES
        found.append((view - 0.5) / 0.25 if normalized else view)
    torch.testing.assert_close(found[0], found[1])


def test_the_target_is_drawn_by_the_teacher_s_probabilities_of_the_others() -> None:
    method = made("bss")[1]
    row = torch.tensor([2.0, 1.0, 0.0, 3.0, -200.0], dtype=torch.float64)
    many = 20_000
    base, numbers = torch.full((many,), 3), torch.arange(many)
    drawn = method._targets(row.expand(many, -1), base, numbers, PROGRESS)
    shares = drawn.bincount(minlength=5) / many
    weights = row.exp() * torch.tensor([1, 1, 1, 0, 1])
    torch.testing.assert_close(shares.double(), weights / weights.sum(), atol=0.01, rtol=0)
    assert shares[3] == 0
    assert torch.equal(drawn, method._targets(row.expand(many, -1), base, numbers, PROGRESS))
    assert torch.equal(drawn[7:9], method._targets(row.expand(2, -1), base[:2], numbers[7:9], PROGRESS))
    later = method._targets(row.expand(many, -1), base, numbers, Progress(8, 1, 0.3))
    assert not torch.equal(drawn, later)
    method.draws += 1
    assert not torch.equal(drawn, method._targets(row.expand(many, -1), base, numbers, PROGRESS))
    certain = torch.tensor([0.0, 1e4, 0.0, 0.0, 0.0]).expand(9, -1)  # the others' probabilities are zero
    assert 1 not in method._targets(certain, torch.ones(9).long(), torch.arange(9), PROGRESS)
    method.target = "second"
    assert method._targets(row.expand(2, -1), base[:2], numbers[:2], PROGRESS).tolist() == [0, 0]


def test_the_term_is_the_equation_over_what_was_moved() -> None:
    distiller, method, batch = made("bss(temperature=2)")
    view, moved = collected(distiller, method, batch)
    assert len(moved) > 2
    losses = distiller(batch)
    teacher = distiller.teacher.network  # type: ignore[union-attr]
    assert teacher is not None
    with torch.no_grad():
        expected = bss(distiller.student(view[moved]), teacher(view[moved]), temperature=2.0)
    assert losses["bss.boundary"].item() == pytest.approx(expected.item(), rel=1e-9)
    assert losses["bss.share"].item() == len(moved) / SAMPLES
    assert losses.total.item() == pytest.approx((1 - 0.3 / 0.75) * expected.item(), rel=1e-9)


@pytest.mark.parametrize(("fraction", "left"), [(0.0, 1.0), (0.375, 0.5), (0.75, 0.0), (0.9, 0.0)])
def test_the_weight_falls_to_zero_and_then_nothing_is_moved(fraction: float, left: float) -> None:
    distiller, method, batch = made("ce + 2*bss")
    batch = Batch(batch.inputs, batch.targets, batch.index, progress=Progress(7, 1, fraction))
    assert method._left(batch.progress) == pytest.approx(left)
    _, moved = collected(distiller, method, batch)
    assert bool(moved) == bool(left)
    losses = distiller(batch)
    expected = losses["ce"] + 2 * left * losses["bss.boundary"]
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-9)


def test_without_a_fall_it_need_not_know_the_progress() -> None:
    distiller, _, batch = made("bss(until=0)")
    bare = Batch(batch.inputs, batch.targets)
    assert distiller(bare)["bss.boundary"] > 0
    distiller, _, batch = made("bss")
    with pytest.raises(LimbeckError, match="bss needs the progress of the batch"):
        distiller(bare)
    with pytest.raises(LimbeckError, match="bss needs the targets of the batch"):
        distiller(Batch(batch.inputs, progress=PROGRESS))


def test_only_the_student_learns_and_the_looks_at_it_leave_no_trace() -> None:
    distiller, method, batch = made("bss", dropout=0.3)
    distiller.train()
    teacher = distiller.teacher.network  # type: ignore[union-attr]
    assert teacher is not None
    states = [copy.deepcopy(network.state_dict()) for network in (distiller.student, teacher)]
    torch.manual_seed(5)
    first = torch.rand(())
    torch.manual_seed(5)
    collected(distiller, method, batch)
    assert torch.rand(()) == first, "no random number is used up"
    assert distiller.student.training
    assert not any(module.training for module in teacher.modules())
    for network, state in zip((distiller.student, teacher), states, strict=True):
        assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())
    distiller(batch).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in distiller.student.parameters())


def test_a_draw_is_the_same_after_the_state_was_loaded() -> None:
    distiller, method, batch = made("bss")
    view, _ = collected(distiller, method, batch)
    again, other, _ = made("bss")
    other.draws += 1
    again.load_state_dict(distiller.state_dict())
    assert torch.equal(collected(again, other, batch)[0], view)


def test_an_ensemble_s_boundaries_are_those_of_its_mean() -> None:
    setting = make_setting(dtype=torch.float64)
    other = steep(make_setting("fsp", dtype=torch.float64).student)
    ensemble = Ensemble([LiveTeacher(steep(setting.teacher)), LiveTeacher(other)], of="logits")
    objective = 'bss(right="teacher", target="second", keep_failed=True)'
    distiller = Distiller(setting.student, ensemble, objective, example=setting.inputs[:2])
    method = cast("BSS", next(distiller.objective.wrapped))

    def mean(inputs: Tensor) -> Tensor:
        return torch.stack([setting.teacher(inputs), other(inputs)]).mean(0)

    first, second = mean(setting.inputs).topk(2).indices.T
    view, moved = collected(distiller, method, Batch(setting.inputs, first, progress=PROGRESS))
    assert len(moved) == SAMPLES
    expected, _ = boundary_samples(mean, setting.inputs, first, second, limits=(0, 1))
    torch.testing.assert_close(view, expected)


def test_a_cache_answers_for_the_samples_and_the_network_for_what_is_moved(tmp_path: Path) -> None:
    setting = make_setting()
    source = limbeck.data.from_tensors(setting.inputs, setting.targets, validation=None)
    shown, views = [], []
    for cached in (False, True):
        network = steep(make_setting().teacher)
        teacher = CachedTeacher(network, source, directory=tmp_path) if cached else network
        distiller = Distiller(
            setting.student, teacher, 'bss(right="teacher", target="second")', example=setting.inputs[:2]
        )
        batch = Batch(
            setting.inputs,
            network(setting.inputs).argmax(1),
            torch.arange(SAMPLES),
            torch.zeros(SAMPLES, dtype=torch.int64),
            progress=PROGRESS,
        )
        method = cast("BSS", next(distiller.objective.wrapped))
        for _ in range(2):
            view, moved = collected(distiller, method, batch)
            assert moved
            views.append(view)
            distiller.teachers.take_shown()
            assert distiller(batch)["bss.boundary"].isfinite()
            shown.append(distiller.teachers.take_shown())
    assert all(torch.equal(view, views[0]) for view in views)
    assert shown == [3 * SAMPLES, 3 * SAMPLES, SAMPLES, SAMPLES], "of the boundary samples alone"


def test_several_teachers_have_a_view_each() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = Distiller(
        setting.student,
        {"big": steep(setting.teacher), "other": steep(make_setting("fsp", dtype=torch.float64).student)},
        "bss(teacher='big', right='teacher', keep_failed=True)"
        " + bss(teacher='other', right='teacher', keep_failed=True)",
        example=setting.inputs[:2],
    )
    assert distiller.reads.makes == ("boundary_big", "boundary_other")
    losses = distiller(Batch(setting.inputs, setting.targets, progress=PROGRESS))
    assert losses["bss.share"] > 0
    assert losses["bss_2.share"] > 0
    assert losses["bss.boundary"] != losses["bss_2.boundary"]


def test_inside_mgd_the_teacher_is_that_which_mgd_is_given() -> None:
    setting = make_setting()
    distiller = Distiller(
        setting.student,
        {"big": setting.teacher, "other": make_setting("fsp").student},
        'kd(teacher="big") + mgd(ce + bss, teacher="other", epochs=1)',
        example=setting.inputs[:2],
    )
    [method] = [part for part in distiller.objective.modules() if isinstance(part, BSS)]
    assert method._teacher == "other"


class Stored(Teacher):
    """A teacher that is no network."""

    def open(self, example: Any, fields: Any) -> None: ...

    def __call__(self, batch: Batch) -> Outputs:
        return Outputs(logits=torch.zeros(len(batch), CLASSES))


class Embedded(nn.Module):
    """A network of token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.classifier = nn.Embedding(9, 6), nn.Linear(6, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return cast("Tensor", self.classifier(self.embedding(ids).mean(1)))


def test_what_it_refuses() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match="bss moves samples along the gradient of the teacher's network"):
        Distiller(setting.student, Stored(), "bss", example=setting.inputs[:2])
    ids = torch.ones(2, 4, dtype=torch.int64)
    for example, kind in ((ids, r"torch\.int64"), ({"ids": ids}, "ids")):
        with pytest.raises(LimbeckError, match=f"one tensor of floats, such as images, not {kind}; use"):
            Distiller(Embedded(), Embedded(), "bss", example=example)
    for limits in ("[1, 0]", "[0]", "[0, 1, 2]"):
        with pytest.raises(LimbeckError, match=r"limits are the least and the greatest pixel, .* not \["):
            parse(f"bss(limits={limits})")
    for argument in ("temperature=0", "step=0", "overshoot=-1", "steps=0", "most=0", "until=2"):
        with pytest.raises(LimbeckError, match=f"bss: the argument {argument}"):
            parse(f"bss({argument})")
    for argument in ('right="student"', 'target="first"', "limits=0"):
        with pytest.raises(LimbeckError, match="bss: the argument"):
            parse(f"bss({argument})")


def of_a_share(rank: int, world: int) -> dict[str, Any]:
    """The value and the gradient of a process's uneven share of the batch."""
    distiller, _, batch = made("bss(most=4, keep_failed=True)")
    rows = [torch.arange(10), torch.arange(10, SAMPLES)][rank]
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    part = Batch(batch.inputs[rows], batch.targets[rows], rows, progress=PROGRESS)
    losses = distiller(part)
    losses.backward()
    gradients = [cast("Tensor", parameter.grad) for parameter in distiller.student.parameters()]
    for gradient in gradients:
        torch.distributed.all_reduce(gradient)
    return {"losses": dict(losses.items()), "gradients": [gradient / world for gradient in gradients]}


def test_the_samples_are_chosen_from_the_batch_of_all_processes() -> None:
    distiller, _, batch = made("bss(most=4, keep_failed=True)")
    losses = distiller(batch)
    losses.backward()
    assert losses["bss.share"].item() == pytest.approx(4 / SAMPLES)
    [results] = run_in_two_processes([(of_a_share, ())], paths=[Path(__file__).parent, *map(Path, sys.path)])
    for found in results:
        for name, value in losses.items():
            torch.testing.assert_close(found["losses"][name], value)
        for gradient, parameter in zip(found["gradients"], distiller.student.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad)


def test_an_objective_moves_samples_once() -> None:
    message = "bss draws a further view 'boundary' of each sample, and an objective can have it only once"
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller("ce + bss(steps=1) + bss(steps=10)")
