from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import make_setting
from torch import Tensor

import limbeck
from limbeck import Batch, Distiller, Outputs
from limbeck.errors import LimbeckError
from limbeck.losses import crd
from limbeck.methods import CRD, DataFacts
from limbeck.methods.crd import log_normalizer
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.outputs import UNLABELED
from two_processes import run_in_two_processes

FORMS = ["exact", "shared"]
every_form = pytest.mark.parametrize("form", FORMS)


# The equation


def similarities(samples: int = 5, negatives: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    values = 2 * torch.rand(samples, negatives + 1, generator=generator, dtype=torch.float64) - 1
    return values[:, 0], values[:, 1:]


def naive(positive: float, negatives: list[float], z: float, samples: int, temperature: float) -> float:
    """The authors' code for one sample, one number after the other."""
    noise = len(negatives) / samples
    e = math.exp(positive / temperature) / z
    loss = -math.log(e / (e + noise + 1e-7))
    for similarity in negatives:
        e = math.exp(similarity / temperature) / z
        loss -= math.log(noise / (e + noise + 1e-7))
    return loss


@pytest.mark.parametrize(("temperature", "z"), [(0.07, 3e4), (0.5, 2.0), (1.0, 40.0)])
def test_it_is_the_paper_s_equation(temperature: float, z: float) -> None:
    positive, negatives = similarities()
    found = crd(positive, negatives, math.log(z), 20, temperature, reduction="none")
    expected = [
        naive(positive[row].item(), negatives[row].tolist(), z, 20, temperature) for row in range(len(found))
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert crd(positive, negatives, math.log(z), 20, temperature).item() == pytest.approx(sum(expected) / 5)


def test_negatives_that_do_not_count_are_as_if_they_were_not_there() -> None:
    positive, negatives = similarities()
    valid = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.6
    valid[2] = False
    found = crd(positive, negatives, 3.0, 20, 0.3, valid, reduction="none")
    for row in (0, 1, 3, 4):
        kept = negatives[row][valid[row]].tolist()
        assert found[row].item() == pytest.approx(
            naive(positive[row].item(), kept, math.exp(3), 20, 0.3), rel=1e-12
        )
    assert found[2].isfinite()


def test_its_gradient_is_that_of_its_value() -> None:
    positive, negatives = (tensor.requires_grad_() for tensor in similarities(3, 4))
    valid = torch.tensor([[True, False, True, True]] * 2 + [[False] * 4])
    for mask in (None, valid):
        assert torch.autograd.gradcheck(
            lambda p, n, mask=mask: crd(p, n, 2.0, 9, 0.3, mask), (positive, negatives)
        )


@pytest.mark.parametrize("log_z", [-1e4, 0.0, 1e4])
def test_nothing_overflows(log_z: float) -> None:
    positive = torch.tensor([1.0, -1.0]).bfloat16().requires_grad_()
    negatives = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).bfloat16().requires_grad_()
    found = crd(positive, negatives, log_z, 10, temperature=1e-3)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.dtype == torch.float32
    assert found.isfinite()
    for tensor in (positive, negatives):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_z_makes_the_first_batch_a_probability() -> None:
    positive, negatives = similarities()
    valid = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.6
    for mask in (None, valid):
        counted = torch.ones_like(valid) if mask is None else mask
        scores = torch.cat([positive, negatives[counted]])
        expected = ((scores / 0.1).exp().mean() * 20).log()
        found = log_normalizer(positive, negatives, 20, 0.1, mask)
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert log_normalizer(positive, negatives, 20, 1e-4).isfinite()


# The method


def text_of(form: str, size: int = 6) -> str:
    return f'crd(negatives="{form}", size={size}, dim=4, momentum=0.3, temperature=0.2)'


def bound(text: str, **setting: Any) -> tuple[Distiller, CRD]:
    distiller = make_setting(norm=False, dtype=torch.float64, **setting).distiller(text)
    method = next(iter(distiller.objective.wrapped))
    assert isinstance(method, CRD)
    return distiller, method


def batch_of(start: int, stop: int) -> Batch:
    setting = make_setting(norm=False, dtype=torch.float64)
    return Batch(setting.inputs[start:stop], setting.targets[start:stop], torch.arange(start, stop))


@every_form
def test_steps_of_training_are_the_equations(form: str) -> None:
    distiller, method = bound(text_of(form))
    setting = make_setting(norm=False, dtype=torch.float64)
    banks = {
        "student": method.student_bank.rows.tolist(),
        "teacher": method.teacher_bank.rows.tolist(),
    }
    z: dict[str, float] = {}
    for start in (0, 6, 3):
        batch = batch_of(start, start + 6)
        seed = method.draws.clone()
        vectors = {
            name: F.normalize(project(network.stage2(network.stage1(batch.inputs)).mean((2, 3))), dim=1)
            for name, network, project in (
                ("student", setting.student, method.project_student),
                ("teacher", setting.teacher, method.project_teacher),
            )
        }
        total = 0.0
        for name, other in (("student", "teacher"), ("teacher", "student")):
            rows = []
            for row, position in enumerate(range(start, start + 6)):
                if form == "exact":
                    drawn = method.negatives.of_each(torch.tensor([position]), 6, seed)[0].tolist()
                else:
                    drawn = [p for p in method.negatives.for_all(6, seed).tolist() if p % 5 != position % 5]
                vector = vectors[name][row].tolist()
                rows.append(
                    [
                        math.fsum(a * b for a, b in zip(vector, banks[other][p], strict=True))
                        for p in (position, *drawn)
                    ]
                )
            if name not in z:
                scores = [math.exp(score / 0.2) for row in rows for score in row]
                z[name] = 16 * sum(scores) / len(scores)
            total += sum(naive(score[0], score[1:], z[name], 16, 0.2) for score in rows) / 6
        assert distiller(batch)["crd"].item() == pytest.approx(total, rel=1e-9)
        for name, bank in banks.items():
            for row, position in enumerate(range(start, start + 6)):
                moved = [
                    0.3 * old + 0.7 * new
                    for old, new in zip(bank[position], vectors[name][row].tolist(), strict=True)
                ]
                bank[position] = [value / math.hypot(*moved) for value in moved]
    for name, bank in banks.items():
        rows_now = getattr(method, f"{name}_bank").rows
        torch.testing.assert_close(rows_now, torch.tensor(bank, dtype=torch.float64))


def test_with_all_negatives_both_forms_are_the_same() -> None:
    values = []
    for form in FORMS:
        setting = make_setting(norm=False, dtype=torch.float64)
        data = DataFacts(15, targets=torch.arange(15) % 5)  # classes of one size
        torch.manual_seed(0)
        distiller = Distiller(
            setting.student, setting.teacher, text_of(form, 999), example=setting.inputs, data=data
        )
        values.append([distiller(batch_of(start, start + 8)).total.item() for start in (0, 4, 7)])
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_the_student_learns_from_the_first_term_and_both_projectors_from_the_sum() -> None:
    distiller, method = bound(text_of("exact"))
    distiller(batch_of(0, 8)).backward()
    for module in (method.project_student, method.project_teacher, distiller.student.stage1):
        assert isinstance(module, torch.nn.Module)
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())


@every_form
def test_two_forwards_may_share_a_backward(form: str) -> None:
    distiller, _ = bound(text_of(form))
    (distiller(batch_of(0, 8)).total + distiller(batch_of(4, 12)).total).backward()


@every_form
def test_evaluation_leaves_the_memory_alone(form: str) -> None:
    distiller, method = bound(text_of(form))
    distiller(batch_of(0, 8))
    distiller.eval()
    before = {name: tensor.clone() for name, tensor in distiller.state_dict().items()}
    first, second = (distiller(batch_of(0, 8)).total.item() for _ in range(2))
    assert first == second
    assert all(torch.equal(before[name], tensor) for name, tensor in distiller.state_dict().items())
    fresh, method = bound(text_of(form))
    assert fresh.eval()(batch_of(0, 8)).total.isfinite()
    assert method.log_z.isnan().all(), "only a batch of the training settles Z"


@every_form
def test_z_is_settled_by_the_first_batch_and_goes_with_the_state(form: str) -> None:
    distiller, method = bound(text_of(form))
    fresh = {name: tensor.clone() for name, tensor in distiller.state_dict().items()}
    distiller(batch_of(0, 8))
    z = method.log_z.clone()
    saved = {name: tensor.clone() for name, tensor in distiller.state_dict().items()}
    expected = distiller(batch_of(8, 16)).total.item()
    assert torch.equal(method.log_z, z)

    other, resumed = bound(text_of(form))
    other(batch_of(8, 16))
    other.load_state_dict(saved)
    assert other(batch_of(8, 16)).total.item() == expected
    assert torch.equal(resumed.log_z, z)
    other.load_state_dict(fresh)
    other(batch_of(0, 8))
    assert torch.equal(resumed.log_z, z), "a state from before the first batch has no Z yet"


def test_every_step_has_negatives_of_its_own() -> None:
    _, method = bound(text_of("exact"))
    distiller, method = bound("crd(momentum=1, dim=4, size=3)")
    assert len({distiller(batch_of(0, 8)).total.item() for _ in range(3)}) == 3
    assert method.draws == bound("crd(momentum=1, dim=4, size=3)")[1].draws + 3


def test_no_more_negatives_are_drawn_than_there_are() -> None:
    assert bound("crd(dim=4)")[1].size == 12, "16 samples, of which 4 are of class 0"
    assert bound('crd(negatives="shared", dim=4)')[1].size == 16
    assert bound("crd(size=5, dim=4)")[1].size == 5


@every_form
def test_samples_without_a_label_take_part(form: str) -> None:
    setting = make_setting()
    targets = setting.targets.clone()
    targets[:9] = UNLABELED
    data = DataFacts(16, targets=targets)
    distiller = Distiller(setting.student, setting.teacher, text_of(form), example=setting.inputs, data=data)
    losses = distiller(setting.inputs, index=torch.arange(16))
    losses.backward()
    assert losses.total.isfinite()


@every_form
def test_nothing_is_read_back_from_an_accelerator(form: str) -> None:
    distiller, method = bound(text_of(form))
    distiller(batch_of(0, 8))
    distiller(batch_of(0, 8))
    method.to("meta")  # which has no values
    student, teacher = (Outputs(embedding=torch.empty(8, width, device="meta")) for width in (6, 8))
    batch = Batch(student.embedding, index=torch.empty(8, dtype=torch.int64, device="meta"))
    method(student, teacher, batch).backward()


# Several processes


def memory_after(rank: int, world: int, form: str) -> dict[str, Any]:
    """In one of two processes: two forwards with uneven shares of the batch."""
    torch.manual_seed(0)
    distiller, _ = bound(text_of(form))
    totals = []
    for start, cut in ((0, 3), (6, 7)):
        share = (start, start + cut) if rank == 0 else (start + cut, start + 10)
        totals.append(distiller(batch_of(*share)).total.item() * (share[1] - share[0]))
    return {"state": distiller.state_dict(), "totals": totals}


def test_all_processes_hold_the_bank_of_one_with_the_whole_batch() -> None:
    paths = [Path(__file__).parent, *map(Path, sys.path)]
    found = run_in_two_processes([(memory_after, (form,)) for form in FORMS], paths=paths)
    for form, ranks in zip(FORMS, found, strict=True):
        distiller, _ = bound(text_of(form))
        totals = [distiller(batch_of(start, start + 10)).total.item() for start in (0, 6)]
        both = [sum(parts) / 10 for parts in zip(*(rank["totals"] for rank in ranks), strict=True)]
        assert both == pytest.approx(totals, rel=1e-10)
        for name, tensor in distiller.state_dict().items():
            assert torch.equal(ranks[0]["state"][name], ranks[1]["state"][name])
            torch.testing.assert_close(ranks[0]["state"][name], tensor, rtol=1e-12, atol=0)


# What is refused, and the doors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crd(negatives='some')", "'exact' or 'shared'"),
        ("crd(size=0)", "size=0 should be greater"),
        ("crd(temperature=0)", "temperature=0 should be greater than 0"),
        ("crd(momentum=1.5)", "momentum=1.5 should be less"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)


def test_it_must_know_the_classes_and_the_positions() -> None:
    setting = make_setting()

    def distiller(data: object) -> Distiller:
        return Distiller(setting.student, setting.teacher, "ce + crd", example=setting.inputs, data=data)

    for data in (None, 16):
        with pytest.raises(LimbeckError, match=r"crd needs the targets .* or DataFacts\(size, "):
            distiller(data)
    with pytest.raises(LimbeckError, match="all training samples are of one"):
        distiller(DataFacts(16, targets=torch.ones(16, dtype=torch.int64)))
    given = distiller(DataFacts(16, targets=setting.targets))
    with pytest.raises(LimbeckError, match="crd needs the index of the batch; give index="):
        given(setting.inputs, setting.targets)
    with pytest.raises(
        LimbeckError, match=r"crd: the index of the batch runs from 5 to 20, but .* has 16 pos"
    ):
        given(setting.inputs, setting.targets, index=torch.arange(5, 21))


@pytest.mark.parametrize("door", ["Source", "Split", "Loader"])
def test_a_training_set_of_limbeck_tells_the_classes(door: str) -> None:
    setting = make_setting()
    source = limbeck.data.from_tensors(setting.inputs, setting.targets, validation=None, test=None)
    loader = limbeck.data.Loader(source.train, 8)
    given = {"Source": source, "Split": source.train, "Loader": loader}[door]
    distiller = Distiller(setting.student, setting.teacher, "crd", example=setting.inputs, data=given)
    optimizer = distiller.optimizer(SGD(lr=0.1))
    for batch in loader:
        losses = distiller(batch)
        losses.backward()
        optimizer.step()
        assert losses.total.isfinite()


def test_targets_that_are_no_classes_are_refused() -> None:
    student, teacher = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
    facts = DataFacts(10, targets=torch.zeros(10, 1))
    with pytest.raises(
        LimbeckError, match="crd chooses among classes, and the outputs of regression are values"
    ):
        Distiller(student, teacher, "mse + crd", example=torch.zeros(2, 4), task="regression", data=facts)
