from __future__ import annotations

import itertools
import math

import pytest
import torch
from method_setting import make_setting
from torch import Tensor

from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.losses import dgkd, kd
from limbeck.methods import DGKD
from limbeck.outputs import Progress

NAMES = ("small", "mid", "big")


def logits(samples: int = 4, classes: int = 5, experts: int = 3) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    student, *teachers = 3 * torch.randn(
        experts + 1, samples, classes, generator=generator, dtype=torch.float64
    )
    return student, teachers


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(z / temperature) for z in row]
    return [power / math.fsum(powers) for power in powers]


def naive(student: list[float], experts: list[list[float]], temperature: float) -> float:
    """The sum over the experts for one sample, one number after the other."""
    q = softmax(student, temperature)
    total = 0.0
    for expert in experts:
        p = softmax(expert, temperature)
        total += temperature**2 * math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total


@pytest.mark.parametrize("temperature", [0.5, 1, 5.0])
@pytest.mark.parametrize(("samples", "classes", "experts"), [(4, 5, 3), (1, 2, 1), (3, 100, 2)])
def test_it_is_the_sum_over_the_experts(temperature: float, samples: int, classes: int, experts: int) -> None:
    student, teachers = logits(samples, classes, experts)
    expected = [
        naive(student[row].tolist(), [teacher[row].tolist() for teacher in teachers], temperature)
        for row in range(samples)
    ]
    found = dgkd(student, teachers, temperature, reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert dgkd(student, teachers, temperature).item() == pytest.approx(math.fsum(expected) / samples)


def test_the_public_codes_mean_over_elements_is_the_classth_part() -> None:
    """wonchulSon/DGKD: nn.KLDivLoss() with its default reduction, T * T * sum(loss_KD_list)."""
    student, teachers = logits()
    ours = (student / 5).log_softmax(1)
    softened = [(each / 5).softmax(1) for each in teachers]
    code = sum(25 * (p * (p.log() - ours)).mean() for p in softened)
    assert isinstance(code, Tensor)
    torch.testing.assert_close(dgkd(student, teachers), 5 * code)


def test_what_is_dropped_counts_for_nothing_and_is_not_made_up_for() -> None:
    student, teachers = logits()
    student.requires_grad_()
    dgkd(student, teachers, kept=torch.tensor([True, False, True])).backward()  # type: ignore[no-untyped-call]
    found, student.grad = student.grad, None
    loss = kd(student, teachers[0], 5.0) + kd(student, teachers[2], 5.0)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, student.grad)


def distiller(objective: str, seed: int = 0) -> tuple[Distiller, Batch]:
    setting = make_setting(dtype=torch.float64)
    torch.manual_seed(seed)
    made = Distiller(setting.student, dict(setting.named), objective, example=setting.inputs[:2])
    made.eval().objective.train()  # what it drops in training, of networks as they are
    return made, Batch(setting.inputs, setting.targets)


def values_of(made: Distiller, batch: Batch) -> dict[str, Tensor]:
    """The divergence from each teacher."""
    with torch.no_grad():
        ours = made.student(batch.inputs)
        networks = {name: made.teachers[name].network for name in NAMES}
        return {name: kd(ours, net(batch.inputs), 5.0) for name, net in networks.items() if net is not None}


def test_without_dropping_the_term_is_the_sum_and_no_step_is_asked_for() -> None:
    made, batch = distiller('dgkd(teachers=["small", "mid", "big"], drop=0)')
    torch.testing.assert_close(made(batch).total.detach(), sum(values_of(made, batch).values()))
    made.progress(step=40, epoch=1, fraction=0.5)
    torch.testing.assert_close(made(batch).total.detach(), sum(values_of(made, batch).values()))


def test_nothing_is_dropped_in_eval_mode() -> None:
    made, batch = distiller('dgkd(teachers=["small", "mid", "big"], drop=2)')
    made.eval()
    for step in range(3):
        made.progress(step, 0, 0.0)
        expected = sum(value.item() for value in values_of(made, batch).values())
        assert made(batch).total.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("drop", [1, 2])
def test_each_step_drops_as_many_and_all_alike(drop: int) -> None:
    made, batch = distiller(f'dgkd(teachers=["small", "mid", "big"], drop={drop})')
    with pytest.raises(LimbeckError, match="dgkd needs the progress of the batch"):
        made(batch)
    values = list(values_of(made, batch).values())
    ways = list(itertools.combinations(range(3), 3 - drop))
    sums = [sum(values[place].item() for place in way) for way in ways]
    counts = dict.fromkeys(ways, 0)
    steps = 300
    with torch.no_grad():
        for step in range(steps):
            made.progress(step, 0, 0.0)
            found = made(batch).total.item()
            (way,) = (
                way for way, each in zip(ways, sums, strict=True) if found == pytest.approx(each, rel=1e-9)
            )
            counts[way] += 1
    deviation = math.sqrt(steps * (1 / 3) * (2 / 3))
    assert all(abs(count - steps / 3) < 4 * deviation for count in counts.values()), counts


def test_the_draw_is_a_function_of_seed_and_step() -> None:
    def draws(seed: int) -> list[list[bool]]:
        made, batch = distiller('dgkd(teachers=["small", "mid", "big"])', seed)
        (method,) = made.objective.wrapped
        assert isinstance(method, DGKD)
        torch.manual_seed(seed + 10)  # the state of torch has no part in it
        kept = []
        for step in range(40):
            outputs = method._kept(Batch(batch.inputs, progress=Progress(step=step)))
            assert outputs is not None
            kept.append(outputs.tolist())
        return kept

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)
    assert all(sum(each) == 2 for each in draws(0))


def test_a_draw_does_not_depend_on_the_size_of_the_batch() -> None:
    made, batch = distiller('dgkd(teachers=["small", "mid", "big"])')
    made.progress(7, 0, 0.0)
    whole = made(batch).total
    parts = [made(part).total for part in batch.split(2)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_what_it_refuses() -> None:
    student, teachers = logits()
    with pytest.raises(LimbeckError, match=r"dgkd compares logits of one shape, not \(4, 5\) and \(4, 6\)"):
        dgkd(student, [teachers[0], torch.zeros(4, 6)])
    with pytest.raises(LimbeckError, match="dgkd: expert_logits must hold the logits of one expert at least"):
        dgkd(student, [])
    for kept in (torch.ones(2, dtype=torch.bool), torch.ones(3)):
        with pytest.raises(LimbeckError, match="dgkd: kept must be 3 truth values, one for each expert, not"):
            dgkd(student, teachers, kept=kept)
    names = 'teachers=["small", "big"]'
    for argument in ("temperature=0", "drop=-1"):
        with pytest.raises(LimbeckError, match=f"dgkd: the argument {argument}"):
            make_setting().distiller(f"dgkd({names}, {argument})")
    with pytest.raises(
        LimbeckError, match="dgkd: drop=2 leaves none of 2 teachers to learn from; it should be 1 at most"
    ):
        make_setting().distiller(f"dgkd({names}, drop=2)")


def test_experts_may_tell_some_classes_apart_alone() -> None:
    student, teachers = logits()
    known = [torch.arange(5).lt(2 + place).expand(4, 5) for place in range(3)]
    apart = torch.stack([kd(student, each, 5, "none", k) for each, k in zip(teachers, known, strict=True)])
    torch.testing.assert_close(dgkd(student, teachers, reduction="none", known=known), apart.sum(0))
    kept = torch.tensor([True, False, True])
    torch.testing.assert_close(dgkd(student, teachers, kept=kept, known=known), apart[[0, 2]].sum(0).mean())


def test_the_method_takes_what_each_teacher_tells_apart() -> None:
    student, teachers = logits(experts=2)
    known = torch.arange(5).lt(2).expand(4, 5)
    named = {"a": Outputs(logits=teachers[0]), "b": Outputs(logits=teachers[1], known=known)}
    method = DGKD(["a", "b"], drop=0)
    found = method.terms(Outputs(logits=student), Outputs(named=named), Batch(student))["dgkd"].value
    every = torch.ones_like(known)
    torch.testing.assert_close(found, dgkd(student, teachers, known=[every, known]))
    assert not torch.allclose(found, dgkd(student, teachers))
