from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from declared import declared, scramble

from limbeck import LimbeckError
from limbeck.models import LRASPP, MobileLRASPP, build


def made(spec: str) -> LRASPP | MobileLRASPP:
    network = build(spec, example=torch.rand(2, 3, 32, 32), num_classes=3)
    assert isinstance(network, (LRASPP, MobileLRASPP))
    return network


def test_the_head_by_hand() -> None:
    head = scramble(made("lraspp(channels=[4, 6, 8], width=5)").head).double().eval()
    weights = head.state_dict()
    middle = torch.rand(2, 6, 7, 9, dtype=torch.float64)
    deep = torch.rand(2, 8, 4, 5, dtype=torch.float64)
    constants = [weights[f"unit.bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    seen = F.batch_norm(F.conv2d(deep, weights["unit.conv.weight"]), *constants).relu()
    attention = F.conv2d(deep.mean((2, 3), keepdim=True), weights["attention.0.weight"]).sigmoid()
    larger = F.interpolate(seen * attention, size=(7, 9), mode="bilinear", align_corners=False)
    kernel, bias = weights["logits.weight"], weights["logits.bias"]
    expected = F.conv2d(larger, kernel[:, :5]) + F.conv2d(middle, kernel[:, 5:], bias)  # the paper's sum
    torch.testing.assert_close(head([torch.rand(2, 4, 14, 18), middle, deep]), expected)


def test_which_maps_are_joined() -> None:
    network, images = (
        made("lraspp(channels=[4, 6, 8, 10], output_stride=16, width=5)"),
        torch.rand(1, 3, 70, 90),
    )
    assert network.trunk.strides == (4, 8, 16, 16)
    assert [tuple(each.shape[1:]) for each in network.trunk(images)] == [
        (4, 18, 23),
        (6, 9, 12),
        (8, 5, 6),
        (10, 5, 6),
    ]
    assert network.head.logits.in_channels == 5 + 6
    assert network(images).shape == (1, 3, 9, 12)
    with pytest.raises(LimbeckError, match=r"strides 4, 8; channels=\[...\] should name 3 stages"):
        made("lraspp(channels=[4, 6])")


def test_mobilenetv2_has_the_strides_and_widths_of_its_paper() -> None:
    network = made("lraspp_mobilenetv2(multiplier=1.0, output_stride=32)")
    assert (network.trunk.channels, network.trunk.strides) == ((24, 32, 96, 320), (4, 8, 16, 32))
    dilated = made("lraspp_mobilenetv2(output_stride=16, aux=true)")
    assert (dilated.trunk.channels, dilated.trunk.strides) == ((12, 16, 48, 160), (4, 8, 16, 16))
    rates = {
        at: {each.dilation for each in stage.modules() if getattr(each, "kernel_size", None) == (3, 3)}
        for at, stage in enumerate(dilated.trunk.get_submodule("blocks").children())
    }
    assert rates == {at: {(2, 2) if at > 4 else (1, 1)} for at in range(7)}
    answer = dilated.eval()(torch.rand(1, 3, 50, 66))
    assert {name: tuple(logits.shape) for name, logits in answer.items()} == {
        "out": (1, 3, 7, 9),
        "aux": (1, 3, 4, 5),
    }


def test_what_it_declares() -> None:
    network, images = made("lraspp(channels=[4, 6, 8], width=5)"), torch.rand(2, 3, 24, 32)
    features = declared(scramble(network), images)
    assert [tuple(each.shape[1:]) for each in features["stages"]] == [
        (4, 6, 8),
        (6, 3, 4),
        (8, 2, 2),
        (5, 2, 2),
    ]
