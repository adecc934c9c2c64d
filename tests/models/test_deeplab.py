import copy
from typing import TypeGuard

import pytest
import torch
import torch.nn.functional as F
from declared import declared, scramble
from torch import nn

from limbeck import Distiller, LimbeckError
from limbeck.features import find
from limbeck.models import DeepLab, build
from limbeck.outputs import Batch
from limbeck.tasks import Segmentation


def made(**arguments: object) -> DeepLab:
    text = "".join(f", {key}={value}" for key, value in arguments.items())
    example = torch.rand(2, 3, 32, 32)
    network = build(f"deeplab(channels=[4, 6, 8], width=5{text})", example=example, num_classes=3)
    assert isinstance(network, DeepLab)
    return network


@pytest.mark.parametrize(("stride", "sides"), [(4, (9, 12)), (8, (5, 6)), (16, (3, 3)), (32, (3, 3))])
def test_the_output_stride_and_the_dilations(stride: int, sides: tuple[int, int]) -> None:
    network = made(output_stride=stride)
    assert network(torch.rand(1, 3, 35, 46)).shape == (1, 3, *sides)
    dilations = {
        path: {each.dilation[0] for each in network.trunk.get_submodule(path).modules() if _is_3x3(each)}
        for path in network.trunk.paths
    }
    expected = {4: (1, 2, 4), 8: (1, 1, 2), 16: (1, 1, 1), 32: (1, 1, 1)}[stride]
    assert dilations == {f"stages.{at}": {rate} for at, rate in enumerate(expected)}
    rates = [each.dilation[0] for each in network.head.get_submodule("aspp").modules() if _is_3x3(each)]
    assert rates == [16 * rate // stride for rate in (6, 12, 18)]


def _is_3x3(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)


def test_the_pyramid_by_hand() -> None:
    pyramid = scramble(made(rates=[1, 2]).head.get_submodule("aspp")).double()
    maps = torch.rand(2, 8, 5, 6, dtype=torch.float64)
    weights = pyramid.state_dict()

    def unit(maps: torch.Tensor, path: str, rate: int = 1) -> torch.Tensor:
        kernel = weights[f"{path}.conv.weight"]
        padding = rate * (kernel.shape[2] // 2)
        seen = F.conv2d(maps, kernel, padding=padding, dilation=rate)
        names = ("running_mean", "running_var", "weight", "bias")
        constants = [weights[f"{path}.bn.{name}"] for name in names]
        return F.batch_norm(seen, *constants).relu()

    mean = F.conv2d(maps.mean((2, 3), keepdim=True), weights["mean.0.weight"], weights["mean.0.bias"]).relu()
    branches = [unit(maps, f"branches.{at}", rate) for at, rate in enumerate((1, 2, 4))]
    expected = unit(torch.cat([*branches, mean.expand(-1, -1, 5, 6)], 1), "project")
    torch.testing.assert_close(pyramid(maps), expected)


def test_what_it_declares() -> None:
    network, images = made(), torch.rand(2, 3, 24, 32)
    scramble(network)
    features = declared(network, images)
    stages, before = features["stages"], features["preactivations"]
    assert [each.shape[1:] for each in stages] == [(4, 6, 8), (6, 3, 4), (8, 3, 4), (5, 3, 4)]
    assert isinstance(before, list)
    assert all(torch.equal(one.relu(), two) for one, two in zip(before, stages, strict=True))
    embedding, logits = features["embedding"], features["logits"]
    assert isinstance(embedding, torch.Tensor)
    assert isinstance(logits, torch.Tensor)
    assert torch.equal(network.head.logits(embedding), logits)
    deep = build("deeplab(channels=[4, 6], blocks=[1, 2], bottleneck=true)", example=images, num_classes=3)
    assert [each.shape[1] for each in declared(deep, images)["stages"]] == [16, 24, 64]
    with pytest.raises(LimbeckError, match="blocks must be one number, or 3"):
        made(blocks=[1, 2])


def test_an_auxiliary_head() -> None:
    network, images = made(aux="true"), torch.rand(2, 3, 24, 32)
    answer = network.eval()(images)
    shape = (2, 3, 3, 4)
    assert [(name, logits.shape) for name, logits in answer.items()] == [("out", shape), ("aux", shape)]
    points = find(network, images, width=3, dense=True)
    assert str(points.logits) == "[out]"
    assert [name for name, _ in points.outputs] == ["aux"]
    task = Segmentation(("a", "b", "c"))
    losses = Distiller(network, copy.deepcopy(network), "ce + kd", example=images, task=task)(
        Batch(images, torch.zeros(2, 24, 32, dtype=torch.int64))
    )
    assert set(losses) == {"ce", "kd"}
    assert losses.total.isfinite()
