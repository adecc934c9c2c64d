from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from method_setting import SAMPLES, make_setting
from torch import Tensor

from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.losses import ceskd, kd
from limbeck.methods import CESKD
from limbeck.methods.ceskd import difficulty_of, strata
from limbeck.outputs import UNLABELED, Progress
from limbeck.tasks.rows import Rows
from two_processes import run_in_two_processes

NAMES = ("small", "mid", "big")


def logits(samples: int = 7, classes: int = 5, experts: int = 3) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    student, *teachers = 3 * torch.randn(
        experts + 1, samples, classes, generator=generator, dtype=torch.float64
    )
    return student, teachers


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(z) for z in row]
    return [power / math.fsum(powers) for power in powers]


def entropy(p: Sequence[float]) -> float:
    return -math.fsum(a * math.log(a) for a in p)


def test_each_row_learns_from_the_expert_that_is_selected_for_it() -> None:
    student, teachers = logits()
    selected = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    found = ceskd(student, teachers, selected, 3.0, reduction="none")
    expected = [
        kd(student[row : row + 1], teachers[place][row : row + 1], 3.0) for row, place in enumerate(selected)
    ]
    torch.testing.assert_close(found, torch.stack(expected))
    assert ceskd(student, teachers, selected, 3.0).item() == pytest.approx(found.mean().item())
    for place, teacher in enumerate(teachers):
        torch.testing.assert_close(ceskd(student, teachers, torch.full((7,), place)), kd(student, teacher))


def test_the_measures_are_the_equations() -> None:
    _, teachers = logits()
    targets = torch.tensor([0, 4, UNLABELED, 2, 1, UNLABELED, 3])
    probabilities = [[softmax(row) for row in teacher.tolist()] for teacher in teachers]
    entropies = [entropy(p) for p in probabilities[-1]]
    losses = [
        entropies[row] if target == UNLABELED else -math.log(probabilities[-1][row][target])
        for row, target in enumerate(targets.tolist())
    ]
    disagreements = []
    for each in zip(*probabilities, strict=True):
        mean = [math.fsum(column) / 3 for column in zip(*each, strict=True)]
        disagreements.append(entropy(mean) - math.fsum(map(entropy, each)) / 3)
    assert difficulty_of(teachers, targets, "loss").tolist() == pytest.approx(losses, rel=1e-12)
    assert difficulty_of(teachers, targets, "entropy").tolist() == pytest.approx(entropies, rel=1e-12)
    assert difficulty_of(teachers, None, "loss").tolist() == pytest.approx(entropies, rel=1e-12)
    found = difficulty_of(teachers, targets, "disagreement")
    assert found.tolist() == pytest.approx(disagreements, rel=1e-12)
    same = difficulty_of([teachers[0], teachers[0].clone()], None, "disagreement")
    torch.testing.assert_close(same, torch.zeros_like(same))


def test_without_a_label_it_is_the_mean_over_labels_that_the_expert_draws() -> None:
    _, teachers = logits(1)
    p = teachers[-1].softmax(1)[0]
    losses = torch.cat([difficulty_of(teachers, torch.tensor([label])) for label in range(5)])
    torch.testing.assert_close(difficulty_of(teachers, torch.tensor([UNLABELED]))[0], (p * losses).sum())


def test_a_certain_expert_has_a_finite_difficulty() -> None:
    certain = [torch.tensor([[1e4, 0.0, -1e4]]), torch.tensor([[-torch.inf, 0.0, 0.0]])]
    for measure in ("loss", "entropy", "disagreement"):
        assert difficulty_of(certain, None, measure).isfinite().all()


def by_hand(values: list[float], shares: list[float], pace: float) -> list[int]:
    """The strata, one row after the other."""
    total, selected = sum(shares), []
    for value in values:
        easier = sum(other < value for other in values) + sum(other == value for other in values) / 2
        rank, end, place = easier / len(values), 0.0, 0
        for share in shares[:-1]:
            end += share / total
            place += rank >= 1 - pace * (1 - end) - 1e-12
        selected.append(place)
    return selected


@pytest.mark.parametrize("pace", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shares", [[1, 1], [1, 1, 1], [3, 2, 1], [1, 5]])
@pytest.mark.parametrize("samples", [1, 2, 5, 12])
def test_the_strata_are_those_of_the_ranks(samples: int, shares: list[float], pace: float) -> None:
    generator = torch.Generator().manual_seed(samples)
    values = torch.randint(6, (samples,), generator=generator).double()  # with equals among them
    assert strata(values, shares, pace).tolist() == by_hand(values.tolist(), shares, pace)
    values = torch.randn(samples, generator=generator, dtype=torch.float64)
    assert strata(values, shares, pace).tolist() == by_hand(values.tolist(), shares, pace)


def test_the_sizes_are_the_shares_and_the_order_is_by_difficulty() -> None:
    values = torch.randn(600, generator=torch.Generator().manual_seed(0))
    selected = strata(values, [3, 2, 1])
    assert [(selected == place).sum().item() for place in range(3)] == [300, 200, 100]
    assert selected[values.argsort()].tolist() == sorted(selected.tolist())
    assert [(strata(values, [3, 2, 1], 0.5) == place).sum().item() for place in range(3)] == [450, 100, 50]
    assert strata(values, [3, 2, 1], 0.0).sum() == 0


def test_equals_have_one_stratum_whatever_their_order() -> None:
    assert strata(torch.zeros(9), [1, 1, 1]).tolist() == [1] * 9
    values = torch.tensor([2.0, 1.0, 2.0, 0.0, 2.0, 1.0])
    selected = strata(values, [1, 1])
    order = torch.tensor([4, 1, 0, 3, 5, 2])
    assert strata(values[order], [1, 1]).tolist() == selected[order].tolist()


def test_ranks_are_taken_among_all_rows() -> None:
    values = torch.randn(12, generator=torch.Generator().manual_seed(0))
    whole = strata(values, [1, 1, 1])
    parts = [strata(part, [1, 1, 1], among=values) for part in values.tensor_split(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert strata(values, [1, 1], among=values[:0]).shape == (12,)


def distiller(objective: str, **given: Any) -> tuple[Distiller, Batch]:
    setting = make_setting(dtype=torch.float64)
    made = Distiller(setting.student, dict(setting.named), objective, example=setting.inputs[:2], **given)
    return made.eval(), Batch(setting.inputs, setting.targets)


def logits_of(made: Distiller, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    with torch.no_grad():
        networks = [made.teachers[name].network for name in NAMES]
        return made.student(batch.inputs), [each(batch.inputs) for each in networks if each is not None]


@pytest.mark.parametrize("measure", ["loss", "entropy", "disagreement"])
@pytest.mark.parametrize(
    ("pacing", "fraction", "pace"),
    [
        ('pacing="linear", paced=0.4', 0.1, 0.25),
        ('pacing="linear", paced=0.4', 0.9, 1.0),
        ('pacing="root", paced=0.4', 0.1, 0.5),
        ('pacing="none"', 0.0, 1.0),
        ("strata=[4, 3, 1]", 0.25, 0.5),
    ],
)
def test_the_terms_are_the_equations(measure: str, pacing: str, fraction: float, pace: float) -> None:
    made, batch = distiller(
        f'ceskd(teachers=["small", "mid", "big"], difficulty="{measure}", {pacing}, temperature=2)'
    )
    made.progress(0, 0, fraction)
    losses = made(batch)
    ours, experts = logits_of(made, batch)
    values = difficulty_of(experts, batch.targets, measure)  # type: ignore[arg-type]
    selected = by_hand(values.tolist(), [4, 3, 1] if "strata" in pacing else [1, 1, 1], pace)
    expected = [
        kd(ours[row : row + 1], experts[place][row : row + 1], 2.0) for row, place in enumerate(selected)
    ]
    assert losses["ceskd.kd"].item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-9)
    assert losses.total.item() == losses["ceskd.kd"].item()
    for place, name in enumerate(NAMES):
        assert losses[f"ceskd.share_{name}"].item() == pytest.approx(selected.count(place) / SAMPLES)


def test_training_begins_with_the_smallest_and_ends_with_all() -> None:
    made, batch = distiller('ceskd(teachers=["small", "mid", "big"])')
    shares = []
    for fraction in (0.0, 0.25, 0.5, 1.0):
        made.progress(0, 0, fraction)
        losses = made(batch)
        shares.append([round(SAMPLES * losses[f"ceskd.share_{name}"].item()) for name in NAMES])
    assert shares[0] == [16, 0, 0]
    assert shares[1] == [11, 2, 3]  # the ends are at 2/3 and 5/6 of 16
    assert shares[2] == shares[3] == [5, 6, 5]


def test_only_with_a_pace_must_the_progress_be_known() -> None:
    made, batch = distiller('ceskd(teachers=["small", "mid", "big"], pacing="none")')
    assert made(batch).total > 0
    made, batch = distiller('ceskd(teachers=["small", "mid", "big"])')
    with pytest.raises(LimbeckError, match="ceskd needs the progress of the batch"):
        made(batch)


def test_samples_without_a_label_take_part() -> None:
    made, batch = distiller('ceskd(teachers=["small", "mid", "big"], pacing="none")')
    assert batch.targets is not None
    half = Batch(batch.inputs, batch.targets.where(torch.arange(SAMPLES) < 8, UNLABELED))
    ours, experts = logits_of(made, batch)
    for given in (half, Batch(batch.inputs)):
        selected = strata(difficulty_of(experts, given.targets), [1, 1, 1])
        torch.testing.assert_close(made(given).total.detach(), ceskd(ours, experts, selected))


class Backwards(CESKD):
    """The first class is hard for whoever, and the hard rows go to the smallest teacher."""

    def difficulty(self, experts: Sequence[Tensor], batch: Batch) -> Tensor:
        return experts[0][:, 0]

    def select(self, difficulty: Tensor, batch: Batch) -> Tensor:
        return 2 - strata(difficulty, [1, 1, 1])


def test_a_subclass_has_a_difficulty_and_a_selection_of_its_own() -> None:
    made, batch = distiller(Backwards(NAMES, pacing="none"))  # type: ignore[arg-type]
    ours, experts = logits_of(made, batch)
    selected = 2 - strata(experts[0][:, 0], [1, 1, 1])
    torch.testing.assert_close(made(batch)["backwards.kd"].detach(), ceskd(ours, experts, selected))


def test_no_gradient_flows_through_the_selection() -> None:
    student, teachers = logits()
    for each in (student, *teachers):
        each.requires_grad_()
    named = {name: Outputs(logits=each) for name, each in zip(NAMES, teachers, strict=True)}
    batch = Batch(student.detach(), torch.arange(7) % 5)
    method = CESKD(NAMES, pacing="none")
    selected = method.select(method.difficulty([each.detach() for each in teachers], batch), batch)
    terms = method(Outputs(logits=student), Outputs(named=named), batch)
    assert isinstance(terms, dict)
    terms["kd"].backward()
    for place, teacher in enumerate(
        teachers
    ):  # a teacher that had a graph would have it for its own rows alone
        assert teacher.grad is not None
        assert torch.equal(teacher.grad.abs().sum(1) > 0, selected == place)


def test_rows_that_stand_in_for_none_have_no_rank() -> None:
    values = torch.tensor([5.0, 1.0, 2.0, 3.0])
    batch = Batch(values, rows=Rows(0, None), progress=Progress(fraction=1.0))
    assert CESKD(NAMES).select(values, batch).tolist() == [0, 0, 0, 0]


def half(rank: int, world: int) -> dict[str, Any]:
    """In each of two processes: the selection for its rows, an uneven part of the batch."""
    _, teachers = logits()
    rows = slice(0, 2) if rank == 0 else slice(2, 7)
    batch = Batch(teachers[0][rows], torch.arange(7)[rows] % 5, progress=Progress(fraction=0.3))
    method = CESKD(NAMES)
    return {"selected": method.select(method.difficulty([each[rows] for each in teachers], batch), batch)}


def test_two_processes_select_as_one_does() -> None:
    (found,) = run_in_two_processes([(half, ())], paths=[Path(__file__).parent, *map(Path, sys.path)])
    _, teachers = logits()
    method = CESKD(NAMES)
    batch = Batch(teachers[0], torch.arange(7) % 5, progress=Progress(fraction=0.3))
    whole = method.select(method.difficulty(teachers, batch), batch)
    assert torch.cat([each["selected"] for each in found]).tolist() == whole.tolist()
    assert len(set(whole.tolist())) > 1


def test_what_it_refuses() -> None:
    student, teachers = logits()
    places = torch.zeros(7, dtype=torch.int64)
    with pytest.raises(LimbeckError, match=r"ceskd compares logits of one shape, not \(7, 5\) and \(7, 6\)"):
        ceskd(student, [teachers[0], torch.zeros(7, 6)], places)
    with pytest.raises(
        LimbeckError, match="ceskd: expert_logits must hold the logits of one expert at least"
    ):
        ceskd(student, [], places)
    with pytest.raises(
        LimbeckError, match="ceskd: expert_logits must hold the logits of one expert at least"
    ):
        difficulty_of([], None)
    for selected in (places.double(), places[:, None]):
        with pytest.raises(LimbeckError, match="ceskd: selected must be the place of an expert for each row"):
            ceskd(student, teachers, selected)
    with pytest.raises(LimbeckError, match="ceskd compares the same samples, not 7 and 1 of them"):
        ceskd(student, teachers, places[:1])
    with pytest.raises(LimbeckError, match="targets must be class ids"):
        difficulty_of(teachers, torch.zeros(7))
    names = 'teachers=["small", "big"]'
    for argument in (
        "temperature=0",
        "paced=0",
        "paced=2",
        'pacing="slow"',
        'difficulty="size"',
        'strata="odd"',
    ):
        with pytest.raises(LimbeckError, match=f"ceskd: the argument {argument}"):
            make_setting().distiller(f"ceskd({names}, {argument})")
    with pytest.raises(LimbeckError, match=r"ceskd: the argument strata=\[1, 0\]"):
        make_setting().distiller(f"ceskd({names}, strata=[1, 0])")
    with pytest.raises(LimbeckError, match=r"strata=\[1, 2, 1\] should have 2 sizes, one for each teacher"):
        make_setting().distiller(f"ceskd({names}, strata=[1, 2, 1])")
    with pytest.raises(LimbeckError, match='with pacing="none" nothing is paced; leave paced out'):
        make_setting().distiller(f'ceskd({names}, pacing="none", paced=0.2)')


def test_experts_may_tell_some_classes_apart_alone() -> None:
    student, teachers = logits()
    known = [torch.arange(5).lt(2 + place).expand(7, 5) for place in range(3)]
    selected = torch.tensor([0, 1, 2, 2, 1, 0, 0])
    found = ceskd(student, teachers, selected, reduction="none", known=known)
    for row, place in enumerate(selected.tolist()):
        one = slice(row, row + 1)
        expected = kd(student[one], teachers[place][one], known=known[place][one])
        torch.testing.assert_close(found[row], expected)


def test_the_method_takes_what_each_teacher_tells_apart() -> None:
    student, teachers = logits(experts=2)
    known = torch.arange(5).lt(2).expand(7, 5)
    named = {"a": Outputs(logits=teachers[0], known=known), "b": Outputs(logits=teachers[1])}
    method = CESKD(["a", "b"], pacing="none", difficulty="entropy")
    batch = Batch(student)
    found = method.terms(Outputs(logits=student), Outputs(named=named), batch)["ceskd.kd"].value
    selected = method.select(method.difficulty(teachers, batch), batch)
    whole = torch.ones_like(known)
    torch.testing.assert_close(found, ceskd(student, teachers, selected, known=[known, whole]))
