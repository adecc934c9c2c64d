"""The networks of the CRD benchmark by name: their size, keys, shapes and first weights."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from declared import declared
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from limbeck.errors import LimbeckError
from limbeck.features import batch_norms, find
from limbeck.models import NAMED, build, count_parameters

MODELS_PAGE = Path(__file__).parents[2] / "docs" / "models.md"
KEYS = Path(__file__).parents[2].parent / "shared" / "reference" / "checkpoint-keys.json"

# Parameters, multiply-adds of one image and entries of the state, at 100 classes.
BENCHMARK = {
    "resnet8": (83_892, 12_507_392, 56),
    "resnet14": (181_108, 26_663_168, 92),
    "resnet20": (278_324, 40_818_944, 128),
    "resnet32": (472_756, 69_130_496, 200),
    "resnet44": (667_188, 97_442_048, 272),
    "resnet56": (861_620, 125_753_600, 344),
    "resnet110": (1_736_564, 253_155_584, 668),
    "resnet8x4": (1_233_540, 177_071_104, 62),
    "resnet32x4": (7_433_860, 1_083_040_768, 206),
    "wrn_16_1": (180_916, 26_663_168, 82),
    "wrn_16_2": (703_284, 101_118_464, 83),
    "wrn_40_1": (569_780, 83_286_272, 226),
    "wrn_40_2": (2_255_156, 327_610_880, 227),
    "vgg8": (3_965_028, 96_192_512, 37),
    "vgg11": (9_277_284, 209_438_720, 58),
    "vgg13": (9_462_180, 284_936_192, 72),
    "vgg16": (14_774_436, 398_182_400, 93),
    "vgg19": (20_086_692, 511_428_608, 114),
    "mobilenetv2": (812_836, 6_523_648, 320),
    "shufflenetv1": (949_258, 38_691_456, 296),
    "shufflenetv2": (1_355_528, 44_504_448, 338),
    "resnet50": (23_705_252, 1_298_014_208, 320),
    "resnet18": (11_220_132, 555_468_800, 122),
    "resnet34": (21_328_292, 1_159_448_576, 218),
}

# What a checkpoint calls them there.
THERE = {
    "mobilenetv2": "MobileNetV2",
    "shufflenetv1": "ShuffleV1",
    "shufflenetv2": "ShuffleV2",
    "resnet50": "ResNet50",
    "resnet18": "ResNet18",
    "resnet34": "ResNet34",
}

Shape = tuple[int, int]

# Channels and pixels a side of the stem and of each stage.
NARROW: tuple[Shape, ...] = ((16, 32), (16, 32), (32, 16), (64, 8))
BROAD: tuple[Shape, ...] = ((32, 32), (64, 32), (128, 16), (256, 8))
VGG: tuple[Shape, ...] = ((64, 32), (128, 16), (256, 8), (512, 4), (512, 4))
SHAPES: Mapping[str, tuple[Shape, ...]] = {
    **{f"resnet{depth}": NARROW for depth in (8, 14, 20, 32, 44, 56, 110)},
    **dict.fromkeys(("resnet8x4", "resnet32x4"), BROAD),
    **dict.fromkeys(("resnet18", "resnet34"), ((64, 32), (64, 32), (128, 16), (256, 8), (512, 4))),
    "resnet50": ((64, 32), (256, 32), (512, 16), (1024, 8), (2048, 4)),
    **dict.fromkeys(("wrn_16_1", "wrn_40_1"), NARROW),
    **dict.fromkeys(("wrn_16_2", "wrn_40_2"), ((16, 32), (32, 32), (64, 16), (128, 8))),
    **{f"vgg{depth}": VGG for depth in (8, 11, 13, 16, 19)},
    "mobilenetv2": ((16, 16), (12, 16), (16, 8), (48, 4), (160, 2)),
    "shufflenetv1": ((24, 32), (240, 16), (480, 8), (960, 4)),
    "shufflenetv2": ((24, 32), (116, 16), (232, 8), (464, 4)),
}
EMBEDDINGS = {"mobilenetv2": 1280, "shufflenetv2": 1024}


def weightless(name: str) -> nn.Module:
    """On the meta device, where nothing is computed, for 100 classes."""
    with torch.device("meta"):
        return build(f"{name}(in_channels=3, size=32, num_classes=100)").eval()


def test_every_named_network_is_in_the_benchmark() -> None:
    assert BENCHMARK.keys() == SHAPES.keys() == {*NAMED, "mobilenetv2", "shufflenetv1", "shufflenetv2"}


@pytest.mark.parametrize("name", BENCHMARK)
def test_parameters_multiply_adds_and_entries(name: str) -> None:
    network = weightless(name)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 32, 32, device="meta"))
    found = count_parameters(network), counter.get_total_flops() // 2, len(network.state_dict())
    assert found == BENCHMARK[name]


def test_the_documentation_has_these_figures() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \| ([\d,]+) \|$", MODELS_PAGE.read_text(), re.MULTILINE)
    assert rows == [(name, f"{BENCHMARK[name][0]:,}", f"{BENCHMARK[name][1]:,}") for name, *_ in rows]
    assert {name for name, *_ in rows} == BENCHMARK.keys()


@pytest.mark.skipif(not KEYS.is_file(), reason="the reference list of checkpoint keys is not here")
def test_keys_and_shapes_are_those_of_the_benchmarks_checkpoints() -> None:
    expected = json.loads(KEYS.read_text())
    assert len(expected) == len(BENCHMARK)
    for name in BENCHMARK:
        state = weightless(name).state_dict()
        assert [(key, list(tensor.shape)) for key, tensor in state.items()] == [
            *expected[THERE.get(name, name)].items()
        ], name


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_the_features(name: str) -> None:
    network = weightless(name)
    features = declared(network, torch.empty(2, 3, 32, 32, device="meta"))
    stem, *stages = [(2, channels, side, side) for channels, side in SHAPES[name]]
    assert {field: shapes_of(value) for field, value in features.items()} == {
        "logits": (2, 100),
        "stem": stem,
        "stages": stages,
        "preactivations": stages,
        "embedding": (2, EMBEDDINGS.get(name, stages[-1][1])),
    }


def shapes_of(value: Tensor | list[Tensor]) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else [tuple(tensor.shape) for tensor in value]


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("resnet20", ["layer1.2.bn2", "layer2.2.bn2", "layer3.2.bn2"]),
        ("resnet8x4", ["layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn2"]),
        ("resnet18", ["layer1.1.bn2", "layer2.1.bn2", "layer3.1.bn2", "layer4.1.bn2"]),
        ("resnet50", ["layer1.2.bn3", "layer2.3.bn3", "layer3.5.bn3", "layer4.2.bn3"]),
        ("wrn_16_2", ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"]),
        ("vgg8", ["block1.1", "block2.1", "block3.1", "block4.1"]),
        ("vgg13", ["block1.4", "block2.4", "block3.4", "block4.4"]),
        ("mobilenetv2", [f"blocks.{block}.conv.7" for block in ("1.1", "2.2", "4.2", "6.0")]),
    ],
)
def test_the_batch_norms_before_relu_are_those_that_the_benchmark_names(name: str, paths: list[str]) -> None:
    network, images = weightless(name), torch.empty(2, 3, 32, 32, device="meta")
    found = batch_norms(network, images, find(network, images).preactivations)
    assert [path for norm in found for path, each in network.named_modules() if each is norm] == paths


# How the weights of each family are drawn, once all layers are there: convolutions anew, the classifier's
# weight with this deviation, and its bias as 0.
@pytest.mark.parametrize(
    ("spec", "convolutions", "deviation", "zero_bias"),
    [
        ("resnet20", True, None, False),
        ("resnet8x4", True, None, False),
        ('resnet(channels=[6, 8, 9], bottleneck=true, classifier="linear")', True, None, False),
        ("wrn_16_2", True, None, True),
        ("vgg(channels=[4, 6, 8, 9, 9], depth=[1, 1, 2, 3, 2])", True, 0.01, True),
        ("mobilenetv2", True, 0.01, True),
        ("shufflenetv1", False, None, False),
        ("shufflenetv2", False, None, False),
    ],
)
def test_a_seed_gives_the_weights_it_gives_in_the_benchmark(
    spec: str, convolutions: bool, deviation: float | None, zero_bias: bool
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = build(spec, example=torch.empty(1, 3, 32, 32), num_classes=10).state_dict()
        torch.manual_seed(3)
        drawn = {path: layer(state, path) for path in layers(state)}
        for each in drawn.values():
            if isinstance(each, nn.Conv2d) and convolutions:
                fan_out = each.kernel_size[0] * each.kernel_size[1] * each.out_channels
                each.weight.data.normal_(0, math.sqrt(2 / fan_out))
                if each.bias is not None:
                    each.bias.data.zero_()
            if isinstance(each, nn.Linear) and deviation:
                each.weight.data.normal_(0, deviation)
            if isinstance(each, nn.Linear) and zero_bias:
                each.bias.data.zero_()
    for path, each in drawn.items():
        for name, tensor in each.state_dict().items():
            assert torch.equal(state[f"{path}.{name}"], tensor), path
    norms = {key: tensor for key, tensor in state.items() if key.rpartition(".")[0] not in drawn}
    for key, tensor in norms.items():
        assert (tensor == float(key.endswith(("weight", "var")))).all(), key


def layers(state: Mapping[str, Tensor]) -> list[str]:
    return [key.removesuffix(".weight") for key, tensor in state.items() if tensor.dim() > 1]


def layer(state: Mapping[str, Tensor], path: str) -> nn.Module:
    """A new layer of the same shape, with the weights that torch draws for it."""
    after, before, *kernel = state[f"{path}.weight"].shape
    if kernel:
        return nn.Conv2d(before, after, kernel[0], bias=f"{path}.bias" in state)
    return nn.Linear(before, after)


@pytest.mark.parametrize("spec", ["resnet20(blocks=5)", "resnet20([4, 8])", "resnet20(chanels=[4, 8])"])
def test_a_named_network_is_what_it_is(spec: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        build(spec, example=torch.rand(2, 3, 32, 32), num_classes=5)
    assert str(caught.value) == (
        f"{spec}: resnet20 is resnet(blocks=3); write that with arguments of your own"
    )


def test_the_facts_of_a_named_network() -> None:
    digits = torch.rand(2, 1, 8, 8)
    assert build("resnet8", example=digits, num_classes=10).eval()(digits).shape == (2, 10)
    with pytest.raises(LimbeckError, match=r"resnet\(blocks=1, in_channels=3\): in_channels is 1 in"):
        build("resnet8(in_channels=3)", example=digits, num_classes=10)
    with pytest.raises(LimbeckError, match=r"resnet\(blocks=1\) needs num_classes"):
        build("resnet8", example=digits)
    with pytest.raises(LimbeckError, match="unknown model 'resnet_20'; did you mean 'resnet20'"):
        build("resnet_20", example=digits, num_classes=10)
