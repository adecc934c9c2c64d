from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from method_setting import SmallNet, make_setting
from phase_runs import Killed, run_to_the_end
from token_networks import WordNet
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, LimbeckError, Outputs, Trainer
from limbeck.losses import cross_entropy, kcd, mse
from limbeck.methods import KCD
from limbeck.methods.kcd import responses_of
from limbeck.methods.parts.channels import channel_assignment, channel_regression
from limbeck.models import MLP
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.tasks import Regression
from limbeck.training import phase_loops
from two_processes import run_in_two_processes


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(student: Tensor, teacher: Tensor, transform: Tensor) -> float:
    """Of one sample (C, positions), one number after the other."""
    ours, theirs, weights = student.tolist(), teacher.tolist(), transform.tolist()
    total, count = 0.0, 0
    for channel, row in enumerate(weights):
        for place in range(len(ours[0])):
            wanted = sum(weight * other[place] for weight, other in zip(row, theirs, strict=True))
            total += (ours[channel][place] - wanted) ** 2
            count += 1
    return total / count


@pytest.mark.parametrize("shape", [(4, 5), (), (6,)], ids=["maps", "vectors", "sequences"])
def test_it_is_the_equation(shape: tuple[int, ...]) -> None:
    transform = normal(2, 3)
    if len(shape) == 1:
        student, teacher = normal(3, *shape, 2), normal(3, *shape, 3, seed=2)
        samples = [(s.T, t.T) for s, t in zip(student, teacher, strict=True)]
    else:
        student, teacher = normal(3, 2, *shape), normal(3, 3, *shape, seed=2)
        samples = [(s.reshape(2, -1), t.reshape(3, -1)) for s, t in zip(student, teacher, strict=True)]
    expected = [naive(*sample, transform) for sample in samples]
    assert kcd(student, teacher, transform, reduction="none").tolist() == pytest.approx(expected, rel=1e-12)
    assert kcd(student, teacher, transform).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_the_larger_map_is_pooled_and_padding_does_not_count() -> None:
    student, teacher, transform = normal(3, 2, 6, 4), normal(3, 3, 3, 8, seed=2), normal(2, 3, seed=3)
    pooled = F.avg_pool2d(student, (2, 1)), F.avg_pool2d(teacher, (1, 2))
    torch.testing.assert_close(kcd(student, teacher, transform), kcd(*pooled, transform))
    student, teacher = normal(2, 4, 2), normal(2, 4, 3, seed=2)
    mask = torch.tensor([[True, True, True, True], [True, False, False, False]])
    expected = [
        kcd(student[:1], teacher[:1], transform).item(),
        kcd(student[1:, :1], teacher[1:, :1], transform).item(),
    ]
    assert kcd(student, teacher, transform, mask, "none").tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("student", "teacher", "transform"),
    [
        ((3, 2, 4, 4), (3, 3, 4, 4), (3, 2)),
        ((3, 2, 4, 4), (3, 3), (2, 3)),
        ((3, 2), (3, 3), (3,)),
    ],
)
def test_what_does_not_go_together_is_refused(
    student: tuple[int, ...], teacher: tuple[int, ...], transform: tuple[int, ...]
) -> None:
    with pytest.raises(LimbeckError, match=r"kcd takes features of one kind and a transform \(C_s, C_t\)"):
        kcd(normal(*student), normal(*teacher), normal(*transform))
    with pytest.raises(LimbeckError, match="of one shape"):
        kcd(normal(3, 4, 2), normal(3, 5, 3), normal(2, 3))


def test_responses_are_means_or_all_positions_without_padding() -> None:
    maps = normal(2, 3, 4, 5)
    assert torch.equal(responses_of(maps, None, "pooled"), maps.flatten(2).mean(2))
    rows = responses_of(maps, None, "positions")
    assert torch.equal(rows, maps.permute(0, 2, 3, 1).reshape(-1, 3))
    tokens, mask = normal(2, 3, 4), torch.tensor([[True, True, False], [True, False, False]])
    pooled = torch.stack([tokens[0, :2].mean(0), tokens[1, 0]])
    torch.testing.assert_close(responses_of(tokens, mask, "pooled"), pooled)
    assert torch.equal(
        responses_of(tokens, mask, "positions"), torch.stack([tokens[0, 0], tokens[0, 1], tokens[1, 0]])
    )


def method_of(distiller: Distiller) -> KCD:
    return next(it for it in distiller.objective.wrapped if isinstance(it, KCD))


class Permuted(SmallNet):
    """A network whose last stage is another's, times 2, with its channels in another order."""

    ORDER = (2, 0, 5, 1, 4, 3)

    def __init__(self, other: SmallNet) -> None:
        super().__init__(3)
        self.load_state_dict(other.state_dict())
        order = torch.tensor(self.ORDER)
        norm = cast(nn.BatchNorm2d, self.stage2[1])
        convolution = cast(nn.Conv2d, self.stage2[0])
        with torch.no_grad():
            assert convolution.bias is not None
            convolution.weight.copy_(convolution.weight[order])
            convolution.bias.copy_(convolution.bias[order])
            for each in (norm.weight, norm.bias):
                each.copy_(2 * each[order])


@pytest.mark.parametrize(
    "text", ["kcd(warmup=0)", 'kcd(warmup=0, responses="positions")', 'kcd(stage="embedding", warmup=0)']
)
def test_a_teacher_with_the_students_channels_in_another_order_is_matched(text: str) -> None:
    setting = make_setting()
    distiller = Distiller(setting.student, Permuted(setting.student), text, example=setting.inputs[:2])
    loader = [(setting.inputs[:9], setting.targets[:9]), (setting.inputs[9:], setting.targets[9:])]
    limbeck.prepare(distiller, loader, display=False, device="cpu")
    expected = torch.eye(6)[torch.tensor(Permuted.ORDER).argsort()]
    assert torch.equal(method_of(distiller).transform.weight, expected)


@pytest.mark.parametrize("responses", ["pooled", "positions"])
def test_a_teacher_that_is_a_linear_map_of_the_student_is_regressed(responses: str) -> None:
    setting = make_setting(size=(12, 12))
    distiller = Distiller(
        setting.student,
        Permuted(setting.student),
        f'kcd(match="regression", warmup=0, responses="{responses}")',
        example=setting.inputs[:2],
    )
    limbeck.prepare(distiller, [(setting.inputs, setting.targets)], display=False, device="cpu")
    distiller.eval()
    assert distiller(setting.inputs)["kcd.features"].item() < 1e-9


@pytest.mark.parametrize("match", ["assignment", "regression"])
@pytest.mark.parametrize(("stage", "pair"), [("-1", (1, 1)), ("0", (0, 0)), ("[0, 1]", (0, 1))])
def test_the_phases_warm_the_student_and_settle_the_transform(
    match: str, stage: str, pair: tuple[int, int]
) -> None:
    setting = make_setting()
    distiller = setting.distiller(f'kcd(stage={stage}, match="{match}", warmup=4, lr=0.02)')
    method = method_of(distiller)
    (first, warming), (second, settling) = distiller.phases
    assert (first, second) == ("kcd.warmup", "kcd.correspondence")
    assert (warming.epochs, warming.optimizer) == (4, SGD(lr=0.02))
    assert (settling.epochs, settling.freezes, settling.cache) == (1, True, None)
    lines: list[dict[str, Any]] = []
    trainer = Trainer(display=False, device="cpu")
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]
    batches = [
        Batch(setting.inputs[:10], setting.targets[:10]),
        Batch(setting.inputs[10:], setting.targets[10:]),
    ]
    before = {name: value.clone() for name, value in distiller.student.state_dict().items()}
    loops = phase_loops(distiller, lambda phase: lambda epoch: batches)
    trainer.fit(distiller, loops[:1])
    assert lines[-1]["terms"]["total"] < lines[0]["terms"]["total"]
    warm = {name: value.clone() for name, value in distiller.student.state_dict().items()}
    assert not torch.equal(warm["stage1.0.weight"], before["stage1.0.weight"])
    trainer.fit(distiller, loops[1:])
    assert all(torch.equal(value, warm[name]) for name, value in distiller.student.state_dict().items())

    stages = []
    for network in (cast(SmallNet, distiller.student.eval()), setting.teacher.eval()):
        lower = network.stage1(setting.inputs)
        stages.append([lower, network.stage2(lower)])
    ours, theirs = stages[0][pair[0]].detach(), stages[1][pair[1]].detach()
    if match == "assignment":
        means = ours.flatten(2).mean(2).double(), theirs.flatten(2).mean(2).double()
        expected = torch.eye(theirs.shape[1])[channel_assignment(*means)]
    else:
        size = min(ours.shape[2], theirs.shape[2])
        own, other = (F.adaptive_avg_pool2d(it, size).movedim(1, -1).flatten(0, -2) for it in (ours, theirs))
        expected = channel_regression(own, other).float()
    torch.testing.assert_close(method.transform.weight.detach(), expected, rtol=1e-3, atol=1e-4)
    losses = distiller.eval()(setting.inputs)
    wanted = kcd(ours, theirs, method.transform.weight).item()
    assert losses["kcd.features"].item() == pytest.approx(wanted, rel=1e-5)
    losses.backward()
    assert not method.transform.weight.requires_grad
    assert method.transform.weight.grad is None
    assert cast(SmallNet, distiller.student).stage1[0].weight.grad is not None


def test_the_warmup_learns_the_labels_or_values() -> None:
    setting = make_setting()
    _, phase = setting.distiller("kcd(warmup=2)").phases[0]
    logits = setting.student.eval()(setting.inputs)
    found = phase.loss(Outputs(logits=logits), Outputs(), Batch(setting.inputs, setting.targets))
    torch.testing.assert_close(found, cross_entropy(logits, setting.targets))
    torch.manual_seed(0)
    student, teacher = (MLP([5, 6], in_features=4, num_classes=2) for _ in range(2))
    task = Regression(("a", "b"), mean=(0.0, 0.0), std=(1.0, 1.0))
    inputs, values = torch.rand(6, 4), torch.rand(6, 2)
    distiller = Distiller(student, teacher, "mse + kcd(warmup=2)", example=inputs[:2], task=task)
    _, phase = distiller.phases[0]
    outputs = student(inputs)
    torch.testing.assert_close(
        phase.loss(Outputs(logits=outputs), Outputs(), Batch(inputs, values)), mse(outputs, values)
    )
    limbeck.prepare(distiller, [(inputs, values)], display=False, device="cpu")
    assert distiller(inputs, values)["kcd.features"].isfinite()


def test_it_goes_with_others_and_without_labels_if_the_student_is_warm() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + kd + kcd(warmup=1)")
    limbeck.prepare(distiller, [(setting.inputs, setting.targets)], display=False, device="cpu")
    losses = distiller(setting.inputs, setting.targets)
    assert set(losses) == {"ce", "kd", "kcd.features"}
    warm = setting.distiller("kd + kcd(warmup=0)")
    limbeck.prepare(warm, [setting.inputs], display=False, device="cpu")
    assert set(warm(setting.inputs)) == {"kd", "kcd.features"}
    with pytest.raises(LimbeckError, match="needs the targets of the batch"):
        limbeck.prepare(setting.distiller("kcd(warmup=1)"), [setting.inputs], display=False, device="cpu")


def test_padding_changes_nothing() -> None:
    for text in ("kcd(warmup=0)", 'kcd(match="regression", warmup=0)'):
        found = []
        for padding in (0, 3):
            torch.manual_seed(0)
            student, teacher = WordNet(4).double(), WordNet(6).double()
            distiller = Distiller(student, teacher, text, example=WordNet.batch())
            limbeck.prepare(distiller, [WordNet.batch(padding)], display=False, device="cpu")
            found.append(distiller(WordNet.batch(padding))["kcd.features"].item())
        assert found[0] == pytest.approx(found[1], rel=1e-9)


def share_of(rank: int, world: int, match: str) -> Tensor:
    """The transform in one of several processes, each with its share of every batch."""
    local = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ |= {name: str(value) for name, value in local.items()} | {"ACCELERATE_USE_CPU": "true"}
    return settled(match, rank, world)


def settled(match: str, rank: int = 0, world: int = 1, accumulation: int = 1) -> Tensor:
    setting = make_setting(norm=False, dtype=torch.float64)
    distiller = setting.distiller(
        f'kcd(match="{match}", warmup=3, ridge=0.01)' if match == "regression" else "kcd(warmup=3)"
    )
    batches = []
    for whole in torch.arange(16).view(2, 8):
        rows = whole[:3] if rank == 0 else whole[3:]
        rows = whole if world == 1 else rows
        batches.append(Batch(setting.inputs[rows], setting.targets[rows], total=8))
    limbeck.prepare(distiller, batches, display=False, device="cpu", accumulation=accumulation)
    return method_of(distiller).transform.weight.detach().clone()


@pytest.mark.parametrize("match", ["assignment", "regression"])
def test_accumulation_changes_nothing(match: str) -> None:
    torch.testing.assert_close(settled(match, accumulation=3), settled(match), rtol=1e-9, atol=1e-12)


def test_two_processes_settle_what_one_does() -> None:
    matches = ("assignment", "regression")
    results = run_in_two_processes(
        [(share_of, (match,)) for match in matches], paths=[Path(__file__).parent, *map(Path, sys.path)]
    )
    for match, (first, second) in zip(matches, results, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, settled(match), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("match", ["assignment", "regression"])
def test_killed_in_either_phase_it_goes_on_as_if_nothing_had_happened(match: str, tmp_path: Path) -> None:
    objective = f'ce + kcd(match="{match}", warmup=2)'
    calm = run_to_the_end(objective, tmp_path / "calm", epochs=1)
    lines = [json.loads(line)["phase"] for line in (tmp_path / "calm" / "metrics.jsonl").open()]
    assert lines == ["kcd.warmup"] * 2 + ["kcd.correspondence", "training"]
    for killed_after in (3, 5, 7):  # in the warmup, the pass, and the training
        folder = tmp_path / str(killed_after)
        with pytest.raises(Killed):
            run_to_the_end(objective, folder, killed_after, epochs=1)
        resumed = run_to_the_end(objective, folder, epochs=1, resume=True)
        assert calm.keys() == resumed.keys()
        assert all(torch.equal(calm[key], resumed[key]) for key in calm)


def test_features_of_two_kinds_and_too_few_channels_are_refused() -> None:
    setting = make_setting()
    vectors = MLP([5, 6], in_features=36, num_classes=5)
    with pytest.raises(
        LimbeckError, match=r"sequences of one length, or vectors, but not stage -1 of the st"
    ):
        Distiller(nn.Sequential(nn.Flatten(), vectors), setting.teacher, "kcd", example=setting.inputs[:2])
    with pytest.raises(LimbeckError, match="asks for stage 4 of the student, whose stages are 0 to 1"):
        setting.distiller("kcd(stage=4)")
    wide = SmallNet(5)
    with pytest.raises(
        LimbeckError,
        match=r"student's 10 channels one of the teacher's, none twice, and the teacher has 8 \(stage -1 of",
    ):
        Distiller(wide, setting.teacher, "kcd", example=setting.inputs[:2])
    with pytest.raises(LimbeckError, match=r"the teacher has 8 \(the embeddings\); write kcd\(match="):
        Distiller(wide, setting.teacher, 'kcd(stage="embedding")', example=setting.inputs[:2])
    assert Distiller(wide, setting.teacher, 'kcd(match="regression")', example=setting.inputs[:2]).phases


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kcd(ridge=0.1)", 'with match="assignment" nothing is regressed; leave ridge out'),
        ('kcd(stage="embedding", responses="pooled")', "an embedding has no positions; leave responses out"),
        ("kcd(warmup=0, lr=0.1)", "the student is not trained beforehand; leave lr out"),
        ("kcd(warmup=-1)", "greater than or equal to 0"),
        ('kcd(match="hungarian")', "'assignment' or 'regression'"),
        (
            'kcd(stage="logits")',
            r"stage is a number, \[student's, teacher's\] or \"embedding\", not \"logits\"",
        ),
        ("kcd(stage=[0, 1.5])", "stage"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=f"^kcd: .*{message}"):
        parse(text)
