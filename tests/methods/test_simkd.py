from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from method_setting import SmallNet, make_setting
from pydantic import TypeAdapter
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Distiller, features
from limbeck.errors import LimbeckError
from limbeck.losses import simkd
from limbeck.methods import SimKD
from limbeck.methods.parts.grafts import Graft, GraftedStudent
from limbeck.methods.parts.regressors import GlobalBatchNorm2d
from limbeck.models import MLP, Normalization, count_parameters, normalization_of, normalize_inputs
from limbeck.optimization import SGD


def maps(*shape: int) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, *shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    return student, teacher


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (3, 7)])
def test_it_is_the_mean_of_squares(shape: tuple[int, ...]) -> None:
    student, teacher = maps(*shape)
    expected = [
        sum((a - b) ** 2 for a, b in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True)) / s.numel()
        for s, t in zip(student, teacher, strict=True)
    ]
    assert simkd(student, teacher, "none").tolist() == pytest.approx(expected, rel=1e-12)
    assert simkd(student, teacher).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_the_larger_map_is_pooled() -> None:
    student, teacher = maps(2, 3, 4, 6)
    expected = F.mse_loss(student[:, :, :2], F.avg_pool2d(teacher, (2, 1))).item()
    assert simkd(student[:, :, :2], teacher).item() == pytest.approx(expected, rel=1e-12)
    expected = F.mse_loss(F.avg_pool2d(student, (1, 2)), teacher[..., :3]).item()
    assert simkd(student, teacher[..., :3]).item() == pytest.approx(expected, rel=1e-12)


def test_gradients_full_precision_and_shapes() -> None:
    student, teacher = maps(2, 3, 2, 4)
    assert torch.autograd.gradcheck(simkd, (student.requires_grad_(), teacher))
    short = simkd(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(simkd(student, teacher).item(), rel=0.05)
    with pytest.raises(LimbeckError, match="one shape"):
        simkd(student, teacher[:, :1])


def method_of(distiller: Distiller) -> SimKD:
    return next(method for method in distiller.objective.wrapped if isinstance(method, SimKD))


def last_map(network: SmallNet, inputs: Tensor) -> Tensor:
    maps: Tensor = network.stage2(network.stage1(inputs))
    return maps


@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
def test_loss_and_answer_are_the_equations(size: tuple[int, int]) -> None:
    setting = make_setting(size=size)
    distiller = setting.distiller("simkd").eval()
    method = method_of(distiller)
    student, teacher = copy.deepcopy(setting.student).eval(), copy.deepcopy(setting.teacher).eval()
    projected = method.projector(last_map(student, setting.inputs))
    expected = F.mse_loss(projected, last_map(teacher, setting.inputs)).item()
    assert distiller(setting.inputs).total.item() == pytest.approx(expected, rel=1e-5)
    shipped = distiller.deploy()
    torch.testing.assert_close(shipped(setting.inputs), teacher.classifier(projected.mean((2, 3))))


def test_the_projector_is_a_bottleneck() -> None:
    for text, inside in (("simkd", 4), ("simkd(factor=4)", 2), ("simkd(factor=100)", 1)):
        projector = method_of(make_setting().distiller(text)).projector
        assert isinstance(projector, nn.Sequential)
        assert [type(part) for part in projector] == [nn.Conv2d, GlobalBatchNorm2d, nn.ReLU] * 3
        shapes = [tuple(p.shape) for p in projector.parameters() if p.ndim == 4]
        assert shapes == [(inside, 6, 1, 1), (inside, inside, 3, 3), (8, inside, 1, 1)]


def test_only_body_and_projector_learn() -> None:
    setting = make_setting()
    distiller = setting.distiller("simkd")
    method = method_of(distiller)
    optimizer = distiller.optimizer(SGD())
    distiller.train()
    distiller(setting.inputs, setting.targets).backward()
    optimizer.step()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.projector.parameters())
    assert distiller.student.stage1[0].weight.grad.abs().max() > 0  # type: ignore[index, union-attr]
    assert distiller.student.classifier.weight.grad is None  # type: ignore[union-attr]
    for name, value in method.classifier.named_parameters():
        assert torch.equal(value, setting.teacher.classifier.get_parameter(name))
        own = distiller.student.get_parameter(f"classifier.{name}")
        assert torch.equal(own, setting.student.classifier.get_parameter(name))


class Shift(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x - self.by


def test_a_map_with_negative_numbers_is_within_reach() -> None:
    setting = make_setting()
    setting.teacher.stage2.append(Shift(0.5))
    projector = method_of(setting.distiller("simkd")).projector
    assert isinstance(projector, nn.Sequential)
    assert isinstance(projector[-1], GlobalBatchNorm2d)
    assert (projector(torch.randn(8, 6, 3, 3)) < 0).any()


class Sized(nn.Module):
    """One stage at some resolution, averaged in some grid."""

    def __init__(self, channels: int, size: tuple[int, int], grid: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(1, channels, 1), nn.ReLU())
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(grid), nn.Flatten()
        self.fc = nn.Linear(channels * grid[0] * grid[1], 5)

    def feature_points(self) -> dict[str, str | list[str]]:
        return {"stages": ["stage"], "embedding": "fc:input"}

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.pool(self.stage(x))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("grid", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize(
    ("ours", "theirs"), [((8, 8), (4, 4)), ((4, 4), (8, 8)), ((8, 3), (4, 6)), ((5, 7), (3, 4))]
)
def test_maps_of_different_sizes_meet_at_the_smaller(
    ours: tuple[int, int], theirs: tuple[int, int], grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    student, teacher, x = Sized(2, ours), Sized(3, theirs, grid), torch.rand(4, 1, 8, 8)
    distiller = Distiller(student, teacher, "simkd", example=x).eval()
    method = method_of(distiller)
    size = min(ours[0], theirs[0]), min(ours[1], theirs[1])
    projected = method.projector(F.adaptive_avg_pool2d(student.stage(x), size))
    target = F.adaptive_avg_pool2d(teacher.stage(x), size)
    assert distiller(x).total.item() == pytest.approx(F.mse_loss(projected, target).item(), rel=1e-5)
    answer = teacher.fc(F.adaptive_avg_pool2d(projected, grid).flatten(1))
    torch.testing.assert_close(distiller.deploy()(x), answer)


def test_embeddings_stand_for_maps() -> None:
    torch.manual_seed(0)
    student, teacher = (MLP(hidden, in_features=9, num_classes=3) for hidden in ((5, 6), (7, 8)))
    x = torch.rand(4, 9)
    distiller = Distiller(student, teacher, "simkd(at='embedding')", example=x).eval()
    projector = method_of(distiller).projector
    assert isinstance(projector, nn.Linear)
    projected = projector(student.layers(x))
    assert distiller(x).total.item() == pytest.approx(
        F.mse_loss(projected, teacher.layers(x)).item(), rel=1e-5
    )
    torch.testing.assert_close(distiller.deploy()(x), teacher.classifier(projected))


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(6), "simkd(at='embedding')", example=WordNet.batch()).eval()
    short, long = WordNet.batch(), WordNet.batch(padding=5)
    assert distiller(short).total.item() == pytest.approx(distiller(long).total.item(), rel=1e-6)
    torch.testing.assert_close(distiller.deploy()(**short), distiller.deploy()(**long))


@pytest.mark.parametrize(
    ("student", "teacher", "objective", "message"),
    [
        (
            MLP([6], in_features=64, num_classes=5),
            SmallNet(4),
            "simkd",
            r"not stage -1 of the student \(6,\) and",
        ),
        (
            SmallNet(3),
            Sized(3, (8, 8), (8, 8)),
            "simkd",
            "that the teacher averages to its embedding, of 192 numb",
        ),
        (
            SmallNet(3),
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
            "simkd",
            r"teacher_features=\{'stages': \[...\]\}, or write simkd\(at='embedding'\)",
        ),
        (SmallNet(3), SmallNet(4), "simkd(at='embedding', factor=4)", "factor is of the projector of maps"),
        (SmallNet(3), SmallNet(4), "simkd(at='logits')", "'map' or 'embedding'"),
        (SmallNet(3), SmallNet(4), "simkd(factor=0)", "greater than or equal to 1"),
        (
            SmallNet(3),
            SmallNet(4),
            "simkd + 0.5*simkd(at='embedding')",
            "simkd replaces part of the student, so",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    student: nn.Module, teacher: nn.Module, objective: str, message: str
) -> None:
    points = {"stages": ["0"], "embedding": "3:input"} if isinstance(teacher, nn.Sequential) else None
    with pytest.raises(LimbeckError, match=message):
        Distiller(student, teacher, objective, example=torch.rand(2, 1, 8, 8), teacher_features=points)


class TestShipped:
    """The network that is shipped."""

    def test_it_shares_everything_with_the_distiller(self) -> None:
        setting = make_setting()
        distiller = setting.distiller("simkd")
        method, shipped = method_of(distiller), distiller.deploy()
        assert isinstance(shipped, GraftedStudent)
        assert shipped.student is distiller.student
        assert shipped.projector is method.projector
        assert shipped.classifier is method.classifier
        own = count_parameters(setting.student)
        assert count_parameters(shipped) == own + count_parameters(method.projector) + 8 * 5 + 5
        shipped(setting.inputs)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in shipped.modules())

    def test_it_is_had_back_from_its_graft_and_its_weights(self) -> None:
        setting = make_setting()
        distiller = setting.distiller("simkd")
        distiller.train()(setting.inputs)  # moves the running statistics
        shipped = distiller.eval().deploy()
        assert isinstance(shipped, GraftedStudent)
        adapter = TypeAdapter(Graft)
        graft = adapter.validate_json(adapter.dump_json(shipped.graft))
        again = graft.onto(SmallNet(3)).eval()
        assert not torch.equal(again(setting.inputs), shipped(setting.inputs))
        again.load_state_dict(shipped.state_dict())
        assert torch.equal(again(setting.inputs), shipped(setting.inputs))

    def test_a_copy_answers_for_itself(self) -> None:
        setting = make_setting()
        shipped = setting.distiller("simkd").eval().deploy()
        before = shipped(setting.inputs)
        twin = copy.deepcopy(shipped)
        with torch.no_grad():
            for parameter in shipped.parameters():
                parameter.zero_()
        assert torch.equal(twin(setting.inputs), before)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_it_goes_to_another_precision(self, dtype: torch.dtype) -> None:
        setting = make_setting()
        shipped = setting.distiller("simkd").eval().deploy()
        before = shipped(setting.inputs)
        found = shipped.to(dtype)(setting.inputs.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), before, rtol=0.1, atol=0.05)

    def test_features_that_are_overwritten_later_are_kept(self) -> None:
        class Overwriting(SmallNet):
            def forward(self, x: Tensor) -> Tensor:
                maps = self.stage2(self.stage1(x))
                maps.mul_(0)
                logits: Tensor = self.classifier(maps.mean((2, 3)))
                return logits

        setting = make_setting()
        plain = setting.distiller("simkd").eval()
        student = Overwriting(3)
        student.load_state_dict(setting.student.state_dict())
        distiller = Distiller(student, setting.teacher, "simkd", example=setting.inputs).eval()
        distiller.objective.load_state_dict(plain.objective.state_dict())
        torch.testing.assert_close(distiller.deploy()(setting.inputs), plain.deploy()(setting.inputs))

    def test_it_can_be_exported(self) -> None:
        setting = make_setting()
        shipped = setting.distiller("simkd").eval().deploy()
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(shipped, (setting.inputs,), dynamic_shapes=({0: batch},))
        torch.testing.assert_close(program.module()(setting.inputs[:5]), shipped(setting.inputs[:5]))

    def test_it_may_teach_and_be_taught(self) -> None:
        setting = make_setting()
        shipped = setting.distiller("simkd").eval().deploy()
        points = features.find(shipped, setting.inputs)
        assert str(points.embedding) == "classifier:input"
        objective = "ce + kd + srrl + at(pairs=[[-1, -1]])"
        taught = Distiller(SmallNet(3), shipped, objective, example=setting.inputs)
        taught(setting.inputs, setting.targets).backward()
        further = Distiller(shipped, setting.teacher, "ce + kd", example=setting.inputs)
        further(setting.inputs, setting.targets).backward()
        with pytest.raises(
            LimbeckError, match=r"by another network's classifier already; give the network insi"
        ):
            Distiller(shipped, setting.teacher, "simkd", example=setting.inputs)

    def test_it_brings_the_student_s_normalization(self) -> None:
        setting = make_setting()
        normalization = Normalization((0.5,), (0.25,))
        normalize_inputs(setting.student, normalization)
        distiller = Distiller(setting.student, setting.teacher, "simkd", example=setting.inputs).eval()
        shipped = distiller.deploy()
        assert normalization_of(shipped) == normalization
        with pytest.raises(LimbeckError, match="normalizes its inputs already"):
            normalize_inputs(shipped, normalization)
        method = method_of(distiller)
        student = copy.deepcopy(setting.student)
        projected = method.projector(last_map(student, (setting.inputs - 0.5) / 0.25))
        torch.testing.assert_close(shipped(setting.inputs), method.classifier(projected.mean((2, 3))))
