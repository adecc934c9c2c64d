from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from method_setting import SAMPLES, make_setting
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, data
from limbeck.data import Loader
from limbeck.hashing import below
from limbeck.losses import comparative, correlation_congruence, fitnet, kd, vid
from limbeck.methods import CKD
from limbeck.methods.ckd import tuples
from limbeck.objective import parse
from limbeck.outputs import UNLABELED, Outputs, Progress
from limbeck.teachers import CachedTeacher
from two_processes import run_in_two_processes


def logits(samples: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, samples, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def naive(student: Tensor, teacher: Tensor, positives: list[list[int]], negatives: list[list[int]]) -> float:
    total, count = 0.0, 0
    for first, second in zip(positives, negatives, strict=True):
        for place in range(student.shape[1]):
            ours, theirs = (
                sum(z[row, place].item() for row in first) / len(first)
                - sum(z[row, place].item() for row in second) / len(second)
                for z in (student, teacher)
            )
            total, count = total + (ours - theirs) ** 2, count + 1
    return total / count


@pytest.mark.parametrize(
    ("positives", "negatives"),
    [([[0], [3], [3]], [[1], [2], [5]]), ([[0, 1], [5, 2]], [[2], [0]]), ([[4]], [[1, 2, 3]])],
)
def test_it_is_the_equation(positives: list[list[int]], negatives: list[list[int]]) -> None:
    student, teacher = logits()
    found = comparative(student, teacher, torch.tensor(positives), torch.tensor(negatives))
    assert found.item() == pytest.approx(naive(student, teacher, positives, negatives), rel=1e-12)


def test_what_is_added_to_all_samples_alike_it_does_not_see() -> None:
    student, teacher = logits()
    groups = torch.tensor([[0], [3]]), torch.tensor([[1], [5]])
    shifted = comparative(student + torch.randn(4, dtype=torch.float64), teacher, *groups)
    torch.testing.assert_close(shifted, comparative(student, teacher, *groups))


@pytest.mark.parametrize(
    ("positives", "negatives", "message"),
    [
        (torch.tensor([0]), torch.tensor([[1]]), r"positives must be int64 .* not int64 of shape \(1,\)"),
        (torch.tensor([[0]]), torch.tensor([[1.0]]), "negatives must be int64 .* not float32"),
        (torch.zeros(0, 1).long(), torch.zeros(0, 1).long(), r"not int64 of shape \(0, 1\)"),
        (torch.tensor([[0], [1]]), torch.tensor([[2]]), "groups for 2 and 1 tuples"),
        (torch.tensor([[0]]), torch.tensor([[6]]), "negatives must be rows from 0 to 5 .* from 6 to 6"),
        (torch.tensor([[-1]]), torch.tensor([[0]]), "positives must be rows from 0 to 5 .* from -1 to -1"),
    ],
)
def test_groups_that_it_refuses(positives: Tensor, negatives: Tensor, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        comparative(*logits(), positives, negatives)


@pytest.mark.parametrize("size", [2, 3])
def test_tuples_are_of_different_rows_and_all_rows_alike(size: int) -> None:
    seed = torch.tensor(7)
    found = torch.cat([tuples(5, size, 40, seed, step) for step in range(50)])
    assert found.shape == (50 * 200, size)
    assert all(len(set(row)) == size for row in found.tolist())
    assert found.min() == 0
    assert found.max() == 4
    first = found[found[:, 0] == 2]
    assert len(first) == len(found) / 5
    for place in range(1, size):
        counts = first[:, place].bincount(minlength=5)
        assert counts[2] == 0
        assert counts[[0, 1, 3, 4]].tolist() == pytest.approx([500] * 4, rel=0.15)


def test_tuples_are_a_function_of_seed_and_step() -> None:
    seed = torch.tensor(7)
    assert torch.equal(tuples(9, 3, 2, seed, 4), tuples(9, 3, 2, seed, 4))
    assert not torch.equal(tuples(9, 3, 2, seed, 4), tuples(9, 3, 2, seed, 5))
    assert not torch.equal(tuples(9, 3, 2, seed, 4), tuples(9, 3, 2, torch.tensor(8), 4))
    assert tuples(1, 3, 2, seed, 4).tolist() == [[0, 0, 0]] * 2, "too few rows repeat"
    assert tuples(9, 2, 2, seed, 0)[:, 0].tolist() == [row for row in range(9) for _ in range(2)]


def bound(method: CKD) -> CKD:
    setting = make_setting()
    distiller = Distiller(
        setting.student, setting.teacher if method.reads.teacher else None, method, example=setting.inputs[:2]
    )
    (found,) = [part for part in distiller.objective.modules() if isinstance(part, CKD)]
    return found


def weights_of(method: CKD, rows: int, step: int) -> Tensor:
    """(N, rows) what each row counts in each tuple's difference."""
    drawn = tuples(rows, method.samples, method.tuples, method.draws, step)
    weights = torch.zeros(len(drawn), rows, dtype=torch.float64)
    positives = 2 if method.samples == 3 else 1
    for number, members in enumerate(drawn.tolist()):
        for place, row in enumerate(members):
            weights[number, row] = 1 / positives if place < positives else -1
    return weights


@pytest.mark.parametrize("samples", [2, 3])
def test_the_terms_are_label_and_relation(samples: int) -> None:
    method = bound(CKD(samples=samples, tuples=3, label=0.5, relation=2.0))  # type: ignore[arg-type]
    student, teacher = logits()
    targets = torch.tensor([0, 3, 1, 1, 2, 0])
    batch = Batch(student, targets, progress=Progress(step=11))
    terms = method.terms(Outputs(logits=student), Outputs(logits=teacher), batch)
    assert {name: (term.kind, term.weight) for name, term in terms.items()} == {
        "ckd.relation": ("distillation", 2.0),
        "ckd.label": ("task", 0.5),
    }
    weights = weights_of(method, 6, 11)
    one_hot = torch.eye(4, dtype=torch.float64)[targets]
    for name, aim in (("relation", teacher), ("label", one_hot)):
        expected = (weights @ student - weights @ aim).square().mean()
        torch.testing.assert_close(terms[f"ckd.{name}"].value, expected)
    drawn = tuples(6, samples, 3, method.draws, 11)
    value = comparative(student, teacher, drawn[:, :-1], drawn[:, -1:])
    torch.testing.assert_close(terms["ckd.relation"].value, value)


def test_a_tuple_with_an_unlabeled_sample_counts_as_zero_for_the_labels() -> None:
    method = bound(CKD(tuples=2))
    student, teacher = logits()
    targets = torch.tensor([0, UNLABELED, 1, 1, UNLABELED, 0])
    batch = Batch(student, targets, progress=Progress(step=3))
    terms = method.terms(Outputs(logits=student), Outputs(logits=teacher), batch)
    expected = 0.0
    drawn = tuples(6, 2, 2, method.draws, 3).tolist()
    known = [(a, b) for a, b in drawn if 1 not in (a, b) and 4 not in (a, b)]
    assert 0 < len(known) < len(drawn)
    one_hot = torch.eye(4, dtype=torch.float64)[targets.clamp(min=0)]
    for a, b in known:
        expected += ((student[a] - student[b]) - (one_hot[a] - one_hot[b])).square().sum().item()
    assert terms["ckd.label"].value.item() == pytest.approx(expected / (4 * len(drawn)))
    relation = (weights_of(method, 6, 3) @ (student - teacher)).square().mean()
    torch.testing.assert_close(terms["ckd.relation"].value, relation)


def test_no_bias_behind_the_last_weights_gets_a_gradient() -> None:
    setting = make_setting(dtype=torch.float64)
    for objective, moved in (("ckd", False), ("0.1*ce + ckd", True)):
        distiller = setting.distiller(objective)
        distiller.progress(0, 0, 0.0)
        distiller(setting.inputs, setting.targets).backward()
        gradient = distiller.student.get_submodule("classifier").bias.grad
        assert isinstance(gradient, Tensor)
        assert (gradient.abs().max() > 1e-3) == moved
        assert moved or gradient.abs().max() < 1e-12


@pytest.mark.parametrize("combine", ["add", "mixup"])
def test_the_ablations_mix_the_groups(combine: Any) -> None:
    student, teacher = logits()
    targets = torch.tensor([0, 3, 1, 1, 2, 0])
    one_hot = torch.eye(4, dtype=torch.float64)[targets]
    shares = []
    for step in range(3):
        method = bound(CKD(combine=combine))
        batch = Batch(student, targets, progress=Progress(step=step))
        terms = method.terms(Outputs(logits=student), Outputs(logits=teacher), batch)
        share = 0.5 if combine == "add" else below(2**24, method.draws, step, -1).item() / 2**24
        shares.append(share)
        first, second = tuples(6, 2, 1, method.draws, step).unbind(1)
        for name, aim in (("relation", teacher), ("label", one_hot)):
            error = student - aim
            expected = (share * error[first] + (1 - share) * error[second]).square().mean()
            torch.testing.assert_close(terms[f"ckd.{name}"].value, expected)
    assert len(set(shares)) == (1 if combine == "add" else 3)
    assert all(0 < share < 1 for share in shares)


def outputs(network: nn.Module, inputs: Tensor) -> dict[str, Any]:
    stages = [network.stage1(inputs)]  # type: ignore[operator]
    stages.append(network.stage2(stages[0]))  # type: ignore[operator]
    return {"stages": stages, "embedding": stages[1].mean((2, 3)), "logits": network(inputs)}


def test_what_is_inside_sees_differences() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("ckd(100*fitnet + 0.02*cc + vid + 0.5*kd(temperature=2), samples=3)").eval()
    distiller.progress(0, 0, 0.0)
    losses = distiller(setting.inputs, setting.targets)
    names = ["relation", "label", "fitnet", "cc", "vid", "kd"]
    assert set(losses) == {f"ckd.{name}" for name in names}
    (method,) = [part for part in distiller.objective.modules() if isinstance(part, CKD)]
    weights = weights_of(method, SAMPLES, 0)

    def differ(tensor: Tensor) -> Tensor:
        return (weights @ tensor.flatten(1)).view(len(weights), *tensor.shape[1:])

    assert distiller.teacher is not None
    assert distiller.teacher.network is not None
    ours, theirs = (outputs(each, setting.inputs) for each in (distiller.student, distiller.teacher.network))
    parts = {part.name: part for part in method.base.wrapped}  # type: ignore[union-attr]
    expected = {
        "fitnet": fitnet(parts["fitnet"].regressor(differ(ours["stages"][1])), differ(theirs["stages"][1])),  # type: ignore[operator]
        "cc": correlation_congruence(
            parts["cc"].embed_student(differ(ours["embedding"])),  # type: ignore[operator]
            parts["cc"].embed_teacher(differ(theirs["embedding"])),  # type: ignore[operator]
        ),
        "vid": torch.stack(
            [
                vid(
                    parts["vid"].regressors[place](differ(ours["stages"][place])),  # type: ignore[index, operator]
                    differ(theirs["stages"][place]),
                    parts["vid"].log_scales[place],  # type: ignore[index]
                )
                for place in range(2)
            ]
        ).sum(),
        "kd": kd(differ(ours["logits"]), differ(theirs["logits"]), 2.0),
    }
    for name, value in expected.items():
        assert losses[f"ckd.{name}"].item() == pytest.approx(value.item(), rel=1e-9), name
    total = losses["ckd.relation"] + losses["ckd.label"] + 100 * losses["ckd.fitnet"]
    total = total + 0.02 * losses["ckd.cc"] + losses["ckd.vid"] + 0.5 * losses["ckd.kd"]
    assert losses.total.item() == pytest.approx(total.item())
    total.backward()
    for part in ("fitnet", "cc", "vid"):
        assert all(parameter.grad is not None for parameter in parts[part].parameters())


OBJECTIVE = "ckd(100*fitnet + 0.02*cc + kd, samples=3, tuples=2)"


def gradients(distiller: Distiller, batch: Batch, share: float) -> dict[str, Tensor]:
    losses = distiller(batch)
    losses.backward(share)
    return {name: p.grad for name, p in distiller.named_parameters() if p.grad is not None}


def gradients_of_part(rank: int, world: int) -> dict[str, Tensor]:
    """In each of two processes, whose shares of the batch differ: the mean of their gradients."""
    setting = make_setting(dtype=torch.float64)
    rows = slice(0, 6) if rank == 0 else slice(6, SAMPLES)
    batch = Batch(setting.inputs[rows], setting.targets[rows], progress=Progress(5), total=SAMPLES)
    distiller = setting.distiller(OBJECTIVE)
    distiller.progress(0, 0, 0.0)
    distiller.student.eval()  # its own batch norms see a process's samples alone
    found = gradients(distiller, batch, len(batch) * world / SAMPLES)
    for gradient in found.values():
        torch.distributed.all_reduce(gradient)
        gradient /= world
    return found


def test_shares_of_two_processes_that_differ_give_the_gradient_of_one() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller(OBJECTIVE)
    distiller.progress(0, 0, 0.0)
    distiller.student.eval()
    whole = gradients(distiller, Batch(setting.inputs, setting.targets, progress=Progress(5)), 1.0)
    paths = [Path(__file__).parent, *map(Path, sys.path)]
    (found,) = run_in_two_processes([(gradients_of_part, ())], paths=paths)
    for there in found:
        assert there.keys() == whole.keys()
        for name, gradient in whole.items():
            torch.testing.assert_close(there[name], gradient, rtol=1e-7, atol=1e-10, msg=name)


def test_a_cache_of_logits_is_all_the_teacher_it_needs(tmp_path: Path) -> None:
    setting = make_setting()
    images = (255 * setting.inputs).to(torch.uint8)
    source = data.from_tensors(images, setting.targets, validation=None, views="crop(padding=1)")
    cached = CachedTeacher(setting.teacher, source, ("logits",), views=1, directory=tmp_path)
    students = [make_setting().student for _ in range(2)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        taught = Distiller(students[0], cached, "ckd(tuples=4)", example=source.example(), data=source)
        torch.manual_seed(0)
        live = Distiller(students[1], make_setting().teacher, "ckd(tuples=4)", example=source.example())
    for each in (taught, live):
        each.progress(0, 0, 0.0)
    shown = [cached.shown]
    for epoch in range(3):
        loader = Loader(source.train, 8, views=source.views, views_per_sample=1)
        loader.set_epoch(epoch)
        for batch in loader:
            ours, theirs = taught(batch), live(batch)
            assert ours["ckd.label"].item() == theirs["ckd.label"].item()
            assert ours["ckd.relation"].item() == pytest.approx(theirs["ckd.relation"].item(), rel=1e-2)
        shown.append(cached.shown)
    first, *later = [after - before for before, after in pairwise(shown)]
    assert (first, later) == (SAMPLES, [0, 0]), "one answer for each sample"


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("ckd(samples=4)", "ckd: the argument samples=4"),
        ("ckd(tuples=0)", "ckd: the argument tuples=0"),
        ("ckd(combine='product')", "'difference', 'add' or 'mixup'"),
        ("ckd(ce)", r"shows differences of samples to fitnet, vid, cc or kd, not to ce; write ckd \+ ce"),
        ("ckd(100*fitnet + dkd)", "not to dkd"),
    ],
)
def test_arguments_that_it_refuses(objective: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller(objective)


def test_batches_that_it_refuses() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match="ckd needs the targets of the batch"):
        setting.distiller("ckd")(setting.inputs)
    with pytest.raises(LimbeckError, match="ckd needs the progress of the batch"):
        setting.distiller("ckd")(setting.inputs, setting.targets)
    begun = Progress()
    without = setting.distiller("ckd(label=0)")(Batch(setting.inputs, progress=begun))
    assert list(without) == ["ckd.relation"]
    with pytest.raises(LimbeckError, match="at least 3 in a batch, not 2"):
        setting.distiller("ckd(samples=3)")(Batch(setting.inputs[:2], setting.targets[:2], progress=begun))


def test_a_teacher_is_named_outside() -> None:
    with pytest.raises(LimbeckError, match=r"of its own teacher; name that, ckd\(\.\.\., teacher='big'\)"):
        parse('ckd(kd(teacher="big"))')


def test_padded_sequences_have_no_places_in_common() -> None:
    torch.manual_seed(0)
    student, teacher, inputs = WordNet(4), WordNet(6), WordNet.batch()
    with pytest.raises(LimbeckError, match=r"sequences with padding have no places .* ckd\(cc\)"):
        Distiller(student, teacher, "ckd(fitnet)", example=inputs)
    distiller = Distiller(student, teacher, "ckd(0.02*cc)", example=inputs)
    losses = distiller(Batch(inputs, torch.tensor([0, 2, 1]), progress=Progress()))
    assert list(losses) == ["ckd.relation", "ckd.label", "ckd.cc"]
