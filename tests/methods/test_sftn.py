from __future__ import annotations

import copy
import math
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from method_setting import CLASSES, SmallNet, make_setting
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.features import Tap
from limbeck.losses import cross_entropy, student_friendly
from limbeck.methods import SFTN
from limbeck.methods.parts.regressors import GlobalBatchNorm2d
from limbeck.methods.sftn import Branch, friendly_to
from limbeck.models import CNN, MLP, Normalization, Transformer, normalization_of, normalize_inputs
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.outputs import UNLABELED, Batch

SMALL = 'student="method_setting:SmallNet(width=3, norm=false)"'


def scores(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(8)
    return [2 * torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(count)]


def naive(
    branches: list[Tensor],
    teacher: Tensor,
    targets: list[int],
    kl: float,
    ce: float,
    temperature: float,
    direction: str,
) -> list[float]:
    def softmax(row: list[float], temperature: float) -> list[float]:
        powers = [math.exp(value / temperature) for value in row]
        return [power / sum(powers) for power in powers]

    values = []
    for sample, target in enumerate(targets):
        total = 0.0
        for branch in branches:
            q = softmax(branch[sample].tolist(), temperature)
            p = softmax(teacher[sample].tolist(), temperature)
            first, second = (q, p) if direction == "branch" else (p, q)
            divergence = sum(a * math.log(a / b) for a, b in zip(first, second, strict=True))
            entropy = -math.log(softmax(branch[sample].tolist(), 1.0)[target])
            total += kl * temperature**2 * divergence + ce * entropy
        values.append(total / len(branches))
    return values


@pytest.mark.parametrize("direction", ["branch", "teacher"])
@pytest.mark.parametrize(("kl", "ce", "temperature"), [(3.0, 1.0, 1.0), (0.5, 2.0, 4.0)])
def test_it_is_the_equation(kl: float, ce: float, temperature: float, direction: Any) -> None:
    teacher, *branches = scores(4)
    targets = [3, 0, 2]
    expected = naive(branches, teacher, targets, kl, ce, temperature, direction)
    given = (branches, teacher, torch.tensor(targets), kl, ce, temperature, direction)
    assert student_friendly(*given, "none").tolist() == pytest.approx(expected, rel=1e-12)
    assert student_friendly(*given).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_the_defaults_are_the_recalled_ones() -> None:
    teacher, *branches = scores(3)
    expected = naive(branches, teacher, [3, 0, 2], 3.0, 1.0, 1.0, "branch")
    found = student_friendly(branches, teacher, torch.tensor([3, 0, 2]), reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("direction", ["branch", "teacher"])
def test_the_gradient_flows_into_the_teacher_and_the_branches(direction: Any) -> None:
    teacher, *branches = (tensor.requires_grad_() for tensor in scores(3))
    targets = torch.tensor([1, 2, UNLABELED])

    def value(teacher: Tensor, *branches: Tensor) -> Tensor:
        return student_friendly(list(branches), teacher, targets, 3.0, 1.0, 2.0, direction)

    assert torch.autograd.gradcheck(value, (teacher, *branches))
    value(teacher, *branches).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is not None
    assert teacher.grad[2].abs().sum() > 0, "without a label the divergence is left"


def test_wrong_logits_are_refused() -> None:
    teacher, *branches = scores(3)
    targets = torch.tensor([1, 2, 0])
    with pytest.raises(LimbeckError, match="at least one branch"):
        student_friendly([], teacher, targets)
    with pytest.raises(LimbeckError, match=r"not \(3, 4\) and \(3, 5\)"):
        student_friendly(branches, torch.ones(3, 5), targets)
    with pytest.raises(LimbeckError, match="must be class ids"):
        student_friendly(branches, teacher, targets.double())


def method_of(distiller: Distiller) -> SFTN:
    return next(method for method in distiller.objective.wrapped if isinstance(method, SFTN))


def branches_of(distiller: Distiller) -> list[Branch]:
    return [cast(Branch, branch) for branch in method_of(distiller).branches]


def test_the_terms_are_those_of_adapters_and_the_students_blocks() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller(f"ce + sftn({SMALL}, temperature=2)").eval()
    shallow, deep = branches_of(distiller)
    stages = Tap(distiller.student, distiller._points, ["stages"])(setting.inputs)
    blocks = shallow.rest.network
    pooled = blocks.stage2(shallow.adapter(stages.stages[0])).mean((2, 3))  # type: ignore[operator]
    first = blocks.classifier(pooled)  # type: ignore[operator]
    second = deep.rest.network.classifier(deep.adapter(stages.stages[1]).mean((2, 3)))  # type: ignore[operator]
    losses = distiller(setting.inputs, setting.targets)
    teacher = F.log_softmax(stages.logits / 2, 1)
    divergences = [
        4 * F.kl_div(teacher, F.log_softmax(q / 2, 1), log_target=True, reduction="batchmean")
        for q in (first, second)
    ]
    entropies = [cross_entropy(q, setting.targets) for q in (first, second)]
    torch.testing.assert_close(losses["sftn.kl"], sum(divergences) / 2)
    torch.testing.assert_close(losses["sftn.ce"], sum(entropies) / 2)
    expected = losses["ce"] + 3 * losses["sftn.kl"] + losses["sftn.ce"]
    torch.testing.assert_close(losses.total, expected)
    whole = student_friendly([first, second], stages.logits, setting.targets, temperature=2)
    torch.testing.assert_close(losses.total - losses["ce"], whole)


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_the_divergence_moves_the_teacher_by_its_output_and_by_its_stages() -> None:
    setting = make_setting()
    distiller = setting.distiller(f"ce + sftn({SMALL})").train()
    batch = Batch(setting.inputs, setting.targets)
    distiller(batch)["sftn.kl"].backward()
    by_both = gradients(distiller.student)
    assert by_both.keys() == dict(distiller.student.named_parameters()).keys()
    assert all(gradient.abs().max() > 0 for name, gradient in by_both.items() if "0.bias" not in name)
    distiller.zero_grad()
    distiller(batch)["sftn.ce"].backward()
    by_stages = gradients(distiller.student)
    assert {name.partition(".")[0] for name in by_stages} == {"stage1", "stage2"}, "not by its classifier"
    assert all(gradients(branch) for branch in branches_of(distiller))


def test_the_branches_hold_what_lies_behind_the_stage_from_the_same_fresh_weights() -> None:
    setting = make_setting()
    distiller = setting.distiller(f"ce + sftn({SMALL})")
    shallow, deep = branches_of(distiller)
    parts = [
        {name.partition(".")[0] for name, _ in branch.rest.network.named_parameters()}
        for branch in (shallow, deep)
    ]
    assert parts == [{"stage2", "classifier"}, {"classifier"}]
    classifiers = [branch.rest.network.get_parameter("classifier.weight") for branch in (shallow, deep)]
    assert torch.equal(*classifiers)
    assert classifiers[0] is not classifiers[1]
    kinds = [[type(layer) for layer in cast(nn.Sequential, branch.adapter)] for branch in (shallow, deep)]
    assert kinds == [[nn.Conv2d, GlobalBatchNorm2d, nn.ReLU]] * 2
    assert cast(nn.Conv2d, cast(nn.Sequential, shallow.adapter)[0]).weight.shape == (3, 3, 1, 1)


def test_the_teacher_ships_without_its_branches() -> None:
    setting = make_setting()
    distiller = setting.distiller(f"ce + sftn({SMALL})")
    assert distiller.deploy() is distiller.student
    assert distiller.student.state_dict().keys() == setting.student.state_dict().keys()
    optimizer = distiller.optimizer(SGD(lr=0.1))
    before = copy.deepcopy(distiller.state_dict())
    distiller.train()
    distiller(setting.inputs, setting.targets).backward()
    optimizer.step()
    moved = {name for name, value in distiller.state_dict().items() if not torch.equal(value, before[name])}
    assert {"student.stage1.0.weight", "student.classifier.weight"} <= moved
    assert any("branches.0.adapter" in name for name in moved)
    assert any("branches.1.rest" in name for name in moved)


@pytest.mark.parametrize(
    ("teacher", "student", "places"),
    [
        ([4, 6, 8], [3, 5], [(0, 0), (1, 1), (1, 2)]),
        ([4, 6], [3, 5, 7], [(1, 0), (2, 1)]),
        ([4, 6], [3, 5], [(0, 0), (1, 1)]),
        ([4, 5, 6, 7], [3], [(0, 0), (0, 1), (0, 2), (0, 3)]),
    ],
)
def test_stages_of_another_number_go_by_their_share_of_the_depth(
    teacher: list[int], student: list[int], places: list[tuple[int, int]]
) -> None:
    network = CNN(teacher, in_channels=1, size=(16, 16), num_classes=5)
    inputs = torch.rand(2, 1, 16, 16)
    if student == [3]:  # its map is 16 x 16, and the teacher's are 16, 8, 4 and 2
        with pytest.raises(LimbeckError, match=r"between stage 0 of the student \(3, 16, 16\) and stage 2"):
            Distiller(network, None, f'ce + sftn(student="cnn(channels={student})")', example=inputs)
        return
    distiller = Distiller(network, None, f'ce + sftn(student="cnn(channels={student})")', example=inputs)
    assert method_of(distiller).places == places
    distiller(inputs, torch.tensor([0, 1])).backward()


def test_pairs_are_taken_as_given() -> None:
    setting = make_setting()
    distiller = setting.distiller(f"ce + sftn({SMALL}, pairs=[[1, 0]])")
    (branch,) = branches_of(distiller)
    assert method_of(distiller).places == [(1, 0)]
    assert not any("stage2" in name for name, _ in branch.rest.network.named_parameters())
    for pairs, message in (
        ("[[0, 2]]", "asks for stage 2 of the teacher, whose stages are 0 to 1"),
        ("[[-3, 0]]", "asks for stage -3 of the student, whose stages are 0 to 1"),
    ):
        with pytest.raises(LimbeckError, match=message):
            setting.distiller(f"ce + sftn({SMALL}, pairs={pairs})")


def test_vectors_and_texts_have_branches_too() -> None:
    perceptron = MLP([8, 6], in_features=12, num_classes=3)
    distiller = Distiller(
        perceptron, None, 'ce + sftn(student="mlp(hidden=[5, 4])")', example=torch.rand(2, 12)
    )
    distiller(torch.rand(4, 12), torch.tensor([0, 1, 2, 0])).backward()
    assert isinstance(branches_of(distiller)[0].adapter, nn.Linear)

    def texts(count: int, length: int) -> dict[str, Tensor]:
        mask = torch.ones(count, length, dtype=torch.int64)
        mask[0, 2:] = 0
        return {"input_ids": torch.randint(0, 9, (count, length)), "attention_mask": mask}

    reader = Transformer(8, 2, 2, dropout=0.0, vocab_size=9, num_classes=3)
    text = "peers_for_sftn:reader()"
    distiller = Distiller(reader, None, f'ce + sftn(student="{text}")', example=texts(2, 5))
    distiller.train()
    batch = texts(4, 7)
    losses = distiller(batch, torch.tensor([0, 1, 2, 0]))
    losses.backward()
    assert all(gradients(branch) for branch in branches_of(distiller))
    longer = {name: F.pad(tensor, (0, 3)) for name, tensor in batch.items()}
    again = distiller(longer, torch.tensor([0, 1, 2, 0]))
    assert again.total.item() == pytest.approx(losses.total.item(), rel=1e-5), "padding counts for nothing"


def test_the_student_has_the_normalization_and_the_classes_of_the_teacher() -> None:
    network = CNN([4, 6], in_channels=2, size=(8, 8), num_classes=3)
    normalize_inputs(network, Normalization((0.5, 0.5), (0.2, 0.2)))
    example = torch.rand(2, 2, 8, 8)
    distiller = Distiller(network, None, 'ce + sftn(student="cnn(channels=[3, 4])")', example=example)
    for branch in branches_of(distiller):
        assert normalization_of(branch.rest.network) == normalization_of(network)
        assert branch.rest.network.get_parameter("classifier.weight").shape[0] == 3
    with pytest.raises(LimbeckError, match=r"the student '.*' has 5 outputs and the teacher 3; they must"):
        Distiller(SmallNet(3, classes=3), None, f"ce + sftn({SMALL})", example=torch.rand(2, 1, 6, 6))


class Skipping(SmallNet):
    """A student that reads its input once more at the end."""

    def __init__(self) -> None:
        super().__init__(3)
        self.skip = nn.Linear(36, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.skip(x.flatten(1))  # type: ignore[no-any-return]


class Stageless(nn.Sequential):
    """A student of one layer."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(36, CLASSES))


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("test_sftn:Skipping()", r"'test_sftn:Skipping\(\)' cannot be entered behind its stage 0"),
        (
            "test_sftn:Stageless()",
            "has no stages whose blocks a branch could copy; name them in feature_points()",
        ),
        ("mlp(hidden=[4, 4])", r"no adapter between stage 0 of the student \(4,\) and stage 0 of"),
        ("cnnn", "unknown model 'cnnn'; did you mean 'cnn'"),
        (".", "sftn: the student '.' is a place on the disk, and its weights are drawn anew"),
    ],
)
def test_students_that_cannot_branch_off_are_refused(student: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller(friendly_to(student))


def test_what_is_wrong_in_the_notation_is_named() -> None:
    for text, message in (
        ("sftn", "missing a required argument: 'student'"),
        ('sftn(student="cnn", kl=-1)', "kl=-1 should be greater than or equal to 0"),
        ('sftn(student="cnn", direction="up")', "'branch' or 'teacher'"),
        ('sftn(student="cnn", pairs=[])', "at least 1 item"),
    ):
        with pytest.raises(LimbeckError, match=message):
            parse(text)
    assert str(parse(friendly_to("resnet8"))) == 'ce + sftn(student="resnet8")'
