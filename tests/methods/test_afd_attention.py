from __future__ import annotations

import math

import pytest
import torch
from method_setting import SmallNet, make_setting
from torch import Tensor

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import linked_attention
from limbeck.methods import AFDAttention
from limbeck.methods.afd_attention import Links
from limbeck.models import CNN, MLP
from limbeck.objective import parse


def maps(*shapes: tuple[int, ...], samples: int = 3, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(samples, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


OURS = maps((2, 4, 6), (3, 2, 3), seed=2)
THEIRS = maps((4, 4, 6), (5, 2, 2), (2, 1, 3), seed=3)


def energy(maps: Tensor) -> list[list[float]]:
    """Of one sample (C, H, W)."""
    channels, height, width = maps.shape
    return [
        [sum(maps[c, y, x].item() ** 2 for c in range(channels)) / channels for x in range(width)]
        for y in range(height)
    ]


def resized(grid: list[list[float]], height: int, width: int) -> list[list[float]]:
    """Each new pixel is the mean of the old ones that it overlaps."""

    def span(place: int, new: int, old: int) -> range:
        return range(place * old // new, math.ceil((place + 1) * old / new))

    rows, columns = len(grid), len(grid[0])
    result = []
    for y in range(height):
        line = []
        for x in range(width):
            cells = [grid[i][j] for i in span(y, height, rows) for j in span(x, width, columns)]
            line.append(sum(cells) / len(cells))
        result.append(line)
    return result


def naive(ours: list[Tensor], theirs: list[Tensor], links: Tensor) -> list[float]:
    def attention(grid: list[list[float]]) -> list[float]:
        pixels = [pixel for row in grid for pixel in row]
        length = math.sqrt(sum(pixel**2 for pixel in pixels))
        return [pixel / length for pixel in pixels]

    values = []
    for sample in range(len(links)):
        value = 0.0
        for t, theirs_t in enumerate(theirs):
            height, width = theirs_t.shape[2:]
            target = attention(energy(theirs_t[sample]))
            for s, ours_s in enumerate(ours):
                found = attention(resized(energy(ours_s[sample]), height, width))
                squares = [(a - b) ** 2 for a, b in zip(found, target, strict=True)]
                value += links[sample, t, s].item() * sum(squares) / len(squares)
        values.append(value)
    return values


def test_it_is_the_equation() -> None:
    links = maps((3, 2))[0].softmax(2)
    expected = naive(OURS, THEIRS, links)
    found = linked_attention(OURS, THEIRS, links, reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert linked_attention(OURS, THEIRS, links).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_gradients_full_precision_and_silent_maps() -> None:
    links = maps((3, 2))[0].softmax(2).requires_grad_()
    ours = [stage.clone().requires_grad_() for stage in OURS]
    assert torch.autograd.gradcheck(
        lambda links, *ours: linked_attention(ours, THEIRS, links), (links, *ours)
    )
    short = linked_attention(
        [stage.bfloat16() for stage in OURS], [stage.bfloat16() for stage in THEIRS], links.bfloat16()
    )
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(linked_attention(OURS, THEIRS, links).item(), rel=0.05)
    silent = [torch.zeros_like(stage, requires_grad=True) for stage in OURS]
    linked_attention(silent, THEIRS, links).backward()  # type: ignore[no-untyped-call]
    assert all(stage.grad is not None and not stage.grad.any() for stage in silent)


@pytest.mark.parametrize(
    ("ours", "theirs", "links", "message"),
    [
        (maps((3, 5)), maps((3, 5, 5)), (3, 1, 1), r"student_stages\[0\] has the shape \(3, 3, 5\)"),
        (maps((3, 5, 5)), maps((3,)), (3, 1, 1), r"teacher_stages\[0\] has the shape \(3, 3\)"),
        (OURS, THEIRS, (3, 2, 3), r"links has the shape \(3, 2, 3\) and must have the shape \(B, 3, 2\)"),
        (OURS, THEIRS, (3, 2), r"links has the shape \(3, 2\)"),
        (OURS, THEIRS, (1, 3, 2), "the same samples, not 1 and 3"),
        (OURS, maps((2, 4, 4), samples=1), (3, 1, 2), "the same samples, not 3 and 1"),
    ],
)
def test_other_shapes_are_refused(
    ours: list[Tensor], theirs: list[Tensor], links: tuple[int, ...], message: str
) -> None:
    with pytest.raises(LimbeckError, match=message):
        linked_attention(ours, theirs, torch.ones(links))


def normed(rows: Tensor, norm: torch.nn.Module) -> Tensor:
    """Batch norm of (rows, channels) as it is in training."""
    assert isinstance(norm, torch.nn.BatchNorm2d)
    centered = rows - rows.mean(0)
    return norm.weight * centered / (centered.square().mean(0) + norm.eps).sqrt() + norm.bias


def test_the_links_are_the_equation() -> None:
    torch.manual_seed(0)
    links = Links([2, 3], [4, 5, 2], dim=6).double()
    for parameter in links.parameters():
        torch.nn.init.normal_(parameter)  # of the batch norms too
    found = links(links.queries(THEIRS), OURS)

    def linear(rows: Tensor, layers: torch.nn.Module) -> Tensor:
        convolution, norm = list(layers.children())[:2]
        weight = convolution.weight
        assert isinstance(weight, Tensor)
        return normed(rows @ weight[:, :, 0, 0].T, norm)

    queries = [linear(stage.mean((2, 3)), layers) for stage, layers in zip(THEIRS, links.query, strict=True)]
    keys = [
        linear(stage.mean((2, 3)), layers).clamp(min=0) for stage, layers in zip(OURS, links.key, strict=True)
    ]
    turned = linear(torch.cat(keys), links.key_for).reshape(
        2, 3, -1
    )  # the statistics are over all stages of a batch
    for sample in range(3):
        for t, query in enumerate(queries):
            scores = torch.stack(
                [
                    query[sample] @ turned[s][sample, 6 * t : 6 * (t + 1)]
                    + links.teacher_position[t] @ links.student_position[s]
                    for s in range(2)
                ]
            )
            torch.testing.assert_close(found[sample, t], (scores / math.sqrt(6)).softmax(0))


def method_of(distiller: Distiller) -> AFDAttention:
    method = next(distiller.objective.wrapped)
    assert isinstance(method, AFDAttention)
    return method


def test_it_matches_all_stages_and_its_attention_learns_with_the_student() -> None:
    setting = make_setting()
    distiller = setting.distiller("afd_attention(dim=7)").eval()
    method = method_of(distiller)
    ours, theirs = [setting.inputs], [setting.inputs]
    for stage in ("stage1", "stage2"):
        ours.append(setting.student.eval().get_submodule(stage)(ours[-1]))
        theirs.append(setting.teacher.eval().get_submodule(stage)(theirs[-1]))
    links = method.attention(method.attention.queries(theirs[1:]), ours[1:])
    expected = naive(ours[1:], theirs[1:], links)
    found = distiller(setting.inputs, setting.targets)["afd_attention"].item()
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-4)

    distiller.train()(setting.inputs, setting.targets).backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    assert any(parameter.grad is not None for parameter in distiller.student.parameters())


def test_stages_of_ones_own_choice() -> None:
    method = method_of(make_setting().distiller("afd_attention(student_stages=[-1], teacher_stages=[0, 1])"))
    assert (method.ours, method.theirs) == ([-1], [0, 1])
    assert (len(method.attention.key), len(method.attention.query)) == (1, 2)
    with pytest.raises(LimbeckError, match="asks for stage 2 of the teacher, whose stages are 0 to 1"):
        make_setting().distiller("afd_attention(teacher_stages=[2])")
    with pytest.raises(LimbeckError, match="asks for stage -3 of the student, whose stages are 0 to 1"):
        make_setting().distiller("afd_attention(student_stages=[-3])")


def test_networks_of_other_depths() -> None:
    shallow, deep = (CNN(widths, in_channels=1, size=8, num_classes=3) for widths in ([2, 4], [2, 4, 6]))
    inputs, targets = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    for pair, counts in (((shallow, deep), (3, 2)), ((deep, shallow), (2, 3))):
        distiller = Distiller(*pair, "afd_attention", example=inputs)
        assert distiller(inputs, targets).total > 0
        attention = method_of(distiller).attention
        found = len(attention.query), len(attention.key)
        assert found == counts


def test_a_map_of_one_pixel_is_left_out_of_the_teacher_s_and_stays_among_the_student_s() -> None:
    example = torch.rand(4, 1, 2, 2)  # the second stage's map has one pixel
    method = method_of(Distiller(SmallNet(3), SmallNet(4), "afd_attention", example=example))
    assert (method.ours, method.theirs) == ([0, 1], [0])
    with pytest.raises(LimbeckError, match="the teacher's stages have one pixel each"):
        Distiller(SmallNet(3), SmallNet(4), "afd_attention(teacher_stages=[1])", example=example)


def test_what_is_no_map_is_refused() -> None:
    student, teacher = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    message = r"stage 0 of the student is \(5,\); name others with afd_attention\(student_stages="
    with pytest.raises(LimbeckError, match=message):
        Distiller(student, teacher, "afd_attention", example=torch.rand(2, 4))


@pytest.mark.parametrize("argument", ["dim=0", "student_stages=[]", "teacher_stages=1"])
def test_arguments_that_make_no_sense_are_refused(argument: str) -> None:
    with pytest.raises(LimbeckError, match="afd_attention: the argument"):
        parse(f"afd_attention({argument})")
