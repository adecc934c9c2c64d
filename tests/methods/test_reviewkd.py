from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_setting import Setting, make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import hierarchical_context
from limbeck.methods import ReviewKD
from limbeck.methods.reviewkd import Fusion
from limbeck.models import CNN, MLP, build
from limbeck.outputs import Progress
from limbeck.tasks import Segmentation


def maps(*shape: int) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return student, teacher


def mean_square(first: Tensor, second: Tensor, parts: int | None = None) -> float:
    """Of (C, H, W) maps, averaged over `parts` x `parts` areas that overlap where they do not divide it."""

    def areas(side: int) -> list[slice]:
        count = parts or side
        return [slice(side * part // count, -(-side * (part + 1) // count)) for part in range(count)]

    channels, height, width = first.shape
    squares = [
        (first[c, rows, columns].mean().item() - second[c, rows, columns].mean().item()) ** 2
        for c in range(channels)
        for rows in areas(height)
        for columns in areas(width)
    ]
    return sum(squares) / len(squares)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((3, 8, 8), [4, 2, 1]), ((2, 5, 7), [4, 2, 1]), ((2, 4, 4), [2, 1]), ((3, 2, 6), [1]), ((4, 1, 1), [])],
)
def test_it_is_the_weighted_mean_over_resolutions(shape: tuple[int, ...], levels: list[int]) -> None:
    student, teacher = maps(3, *shape)
    expected = []
    for s, t in zip(student, teacher, strict=True):
        total, weight, weights = mean_square(s, t), 1.0, 1.0
        for level in levels:
            weight /= 2
            weights += weight
            total += weight * mean_square(s, t, level)
        expected.append(total / weights)
    found = hierarchical_context(student, teacher, "none")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert hierarchical_context(student, teacher).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_vectors_have_one_resolution() -> None:
    student, teacher = maps(3, 5)
    assert hierarchical_context(student, teacher).item() == pytest.approx(F.mse_loss(student, teacher).item())


def test_gradients_and_full_precision() -> None:
    student, teacher = maps(2, 2, 5, 3)
    assert torch.autograd.gradcheck(hierarchical_context, (student.requires_grad_(), teacher))
    short = hierarchical_context(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(hierarchical_context(student, teacher).item(), rel=0.05)


def test_different_shapes_are_never_broadcast() -> None:
    with pytest.raises(LimbeckError, match=r"of one shape, not \(3, 2, 4, 4\) and \(3, 1, 4, 4\)"):
        hierarchical_context(torch.zeros(3, 2, 4, 4), torch.zeros(3, 1, 4, 4))


def test_a_fusion_weighs_both_maps_at_each_position() -> None:
    torch.manual_seed(0)
    fusion = Fusion(3, 2, 5).eval()
    own, deeper = torch.randn(2, 3, 4, 6), torch.randn(2, 2, 2, 3)
    output, left = fusion(own, deeper, (8, 6))
    assert output.shape == (2, 5, 8, 6)
    entered = fusion.enter(own)
    assert fusion.attention is not None
    gate = fusion.attention.get_submodule("0")
    for y in range(8):
        for x in range(6):
            below = deeper[:, :, y // 4, x // 2]  # twice as large, and rows twice over to fit the teacher's
            here = entered[:, :, y // 2, x]
            both = torch.cat([here, below], 1)[:, :, None, None]
            weights = torch.sigmoid(gate(both))[:, :, 0, 0]
            expected = weights[:, :1] * here + weights[:, 1:] * below
            torch.testing.assert_close(left[:, :, y, x], expected)
    torch.testing.assert_close(output, fusion.leave(left))
    shapes = {name: tuple(p.shape) for name, p in fusion.named_parameters() if p.ndim == 4}
    assert shapes == {
        "enter.0.weight": (2, 3, 1, 1),
        "attention.0.weight": (2, 4, 1, 1),
        "leave.0.weight": (5, 2, 3, 3),
    }
    assert Fusion(3, 2, 5, deepest=True).attention is None


def method_of(distiller: Distiller) -> ReviewKD:
    return next(method for method in distiller.objective.wrapped if isinstance(method, ReviewKD))


def taken(setting: Setting) -> tuple[list[Tensor], list[Tensor]]:
    """The student's stages and embedding, and the teacher's pre-activations and embedding."""
    student, teacher = setting.student.eval(), setting.teacher.eval()
    first = student.stage1(setting.inputs)
    ours = [first, student.stage2(first)]
    before = teacher.stage1[:2](setting.inputs)
    second = teacher.stage2[:2](before.relu())
    return [*ours, ours[1].mean((2, 3))], [before, second, second.relu().mean((2, 3))]


@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
def test_the_review_goes_from_the_deepest_to_the_shallowest(size: tuple[int, int]) -> None:
    setting = make_setting(size=size)
    distiller = setting.distiller("reviewkd(warmup=0)").eval()
    method = method_of(distiller)
    ours, theirs = taken(setting)
    output, left = method.deepest(ours[2][:, :, None, None], None, (1, 1))
    embedding = F.mse_loss(output.flatten(1), theirs[2]).item()
    total = 0.0
    for place in (1, 0):
        fusion = method.fusions[place]
        output, left = fusion(ours[place], left, theirs[place].shape[2:])
        total += hierarchical_context(output, theirs[place]).item()
    losses = distiller(setting.inputs)
    assert losses["reviewkd.embedding"].item() == pytest.approx(embedding, rel=1e-5)
    assert losses["reviewkd.stages"].item() == pytest.approx(total, rel=1e-5)
    assert losses.total.item() == pytest.approx(total + embedding, rel=1e-5)
    assert (theirs[0] < 0).any(), "pre-activations"


def test_every_part_learns() -> None:
    setting = make_setting()
    distiller = setting.distiller("reviewkd(warmup=0)").train()
    distiller(setting.inputs).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method_of(distiller).parameters())


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.05), (9, 0.5), (19, 1.0), (200, 1.0)])
def test_the_weight_rises_by_the_epoch(epoch: int, weight: float) -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + 5*reviewkd").eval()
    losses = distiller(Batch(setting.inputs, setting.targets, progress=Progress(0, epoch, 0.0)))
    kd = losses["reviewkd.stages"] + losses["reviewkd.embedding"]
    assert losses.total.item() == pytest.approx((losses["ce"] + 5 * weight * kd).item(), rel=1e-6)


def test_a_loop_that_does_not_tell_the_epoch_is_refused_unless_nothing_rises() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match=r"reviewkd needs the progress of the batch"):
        setting.distiller("reviewkd")(setting.inputs)
    assert setting.distiller("reviewkd(warmup=0)")(setting.inputs).total.item() > 0


def test_channels_in_between_are_the_embedding_s_up_to_a_limit() -> None:
    setting = make_setting()
    for text, width in (("reviewkd", 6), ("reviewkd(width=4)", 4)):
        method = method_of(setting.distiller(text))
        convolutions = [part.enter[0] for part in (*method.fusions, method.deepest)]
        assert [convolution.out_channels for convolution in convolutions] == [width] * 3
        assert [convolution.in_channels for convolution in convolutions] == [3, 6, 6]


def networks() -> tuple[nn.Module, nn.Module]:
    return (
        CNN([2, 4], in_channels=1, size=8, num_classes=3),
        CNN([2, 4, 6], in_channels=1, size=8, num_classes=3),
    )


def test_stages_of_any_count_and_size_are_paired_deepest_first() -> None:
    student, teacher = networks()
    example = torch.rand(4, 1, 8, 8)
    with pytest.raises(LimbeckError, match="student has 2 and the teacher 3; say which") as raised:
        Distiller(student, teacher, "reviewkd", example=example)
    advice = str(raised.value).rpartition("for example ")[2]
    assert advice == "reviewkd(pairs=[[0, 0], [1, 2]])"
    distiller = Distiller(student, teacher, "reviewkd(pairs=[[-1, -1], [0, 0]], warmup=0)", example=example)
    method = method_of(distiller)
    assert method.places == [(0, 0), (1, 2)]
    distiller(example).backward()


def test_stages_that_are_no_maps_are_refused() -> None:
    student, teacher = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match=r"reviewkd compares maps .*, not stage 0 of the student \(5,\)"):
        Distiller(student, teacher, "reviewkd", example=torch.rand(2, 4))


def test_a_task_with_an_embedding_at_each_position_is_refused() -> None:
    images = torch.rand(2, 3, 16, 16)
    student, teacher = (
        build(f"deeplab(channels=[{width}, {width}])", example=images, num_classes=3) for width in (3, 4)
    )
    with pytest.raises(
        LimbeckError, match=r"^reviewkd reviews one embedding of each sample, and segmentation"
    ):
        Distiller(student, teacher, "ce + reviewkd", example=images, task=Segmentation(("a", "b", "c")))
