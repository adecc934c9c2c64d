from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.models import IMAGENET, Normalization, build, normalization_of
from limbeck.models.zoos import fetches_weights, untrained
from zoo_packages import Net, install

IMAGES = torch.rand(2, 3, 16, 16)
GRAY = torch.rand(2, 1, 16, 16)


@pytest.fixture
def _zoos(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def made(spec: str, example: Any = IMAGES, num_classes: int | None = 10) -> Net:
    network = build(spec, example=example, num_classes=num_classes)
    assert isinstance(network, Net)
    return network


@pytest.mark.usefixtures("_zoos")
class TestDoors:
    def test_the_data_tell_channels_and_classes(self) -> None:
        network = made("timm:resnet18", GRAY)
        assert network.asked == {"name": "resnet18"}
        assert network(GRAY).shape == (2, 10)
        assert made("torchvision:resnet18")(IMAGES).shape == (2, 10)
        assert made("timm:resnet18", None, None)(IMAGES).shape == (2, 1000)

    def test_arguments_and_pretrained_tags_are_handed_on(self) -> None:
        network = made(
            'timm:vit_tiny_patch16_224.augreg_in21k(depth=2, act="gelu", in_chans=3, num_classes=10)'
        )
        assert network.asked == {"name": "vit_tiny_patch16_224.augreg_in21k", "depth": 2, "act": "gelu"}
        assert made("torchvision:resnet18(progress=false)").asked == {"name": "resnet18", "progress": False}

    def test_fetched_weights_bring_their_normalization(self) -> None:
        assert normalization_of(made("timm:resnet18")) is None
        network = made("timm:resnet18(pretrained=true)")
        assert network.asked["pretrained"] is True
        assert normalization_of(network) == Normalization((0.5, 0.4, 0.3), (0.3, 0.2, 0.1))
        assert normalization_of(made("timm:resnet18(pretrained=true)", GRAY)) is None
        assert normalization_of(made("torchvision:resnet18")) is None
        network = made('torchvision:resnet18(weights="DEFAULT")', num_classes=1000)
        assert network.asked["weights"] == "DEFAULT"
        assert normalization_of(network) == IMAGENET

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("timm:resnt18", "unknown network of timm: 'resnt18'; did you mean 'resnet18'?"),
            ("torchvision:resnet81", "unknown network of torchvision: 'resnet81'; did you mean 'resnet18'?"),
            ("timm:resnet18(num_classes=7)", "timm:resnet18(num_classes=7): num_classes is 10 in the data"),
            ("timm:resnet18(in_chans=1)", "timm:resnet18(in_chans=1): in_chans is 3 in the data"),
            (
                "timm:resnet18(img_size=32)",
                "timm:resnet18: __init__() got an unexpected keyword argument 'img_size'",
            ),
            ("timm:resnet18(3)", "timm:resnet18 takes its arguments by name"),
            (
                "timm:resnet18(act=relu)",
                'relu is neither a number, a text nor a list; write "relu" for a text',
            ),
            ("timm:", "'timm:' is no network of a zoo; it is written package:name(argument=value)"),
            ("timm:hub/user", "'timm:hub/user' is no network of a zoo"),
            ("timm:resnet18()()", "the notation has names, numbers, strings"),
            ('timm:resnet18(checkpoint_path="x.pt")', "would run code in the file at checkpoint_path"),
            ("torchvision:resnet18(pretrained=true)", 'has no argument pretrained; write weights="DEFAULT"'),
            ('torchvision:resnet18(weights="DEFAUL")', "'DEFAUL'; did you mean 'DEFAULT'?"),
            (
                'torchvision:resnet18(weights="DEFAULT")',
                "torchvision:resnet18: The parameter 'num_classes' expected value 1000 but got 10 instead.",
            ),
        ],
    )
    def test_what_cannot_be_made_is_refused(self, spec: str, message: str) -> None:
        with pytest.raises(LimbeckError) as caught:
            made(spec)
        assert message in str(caught.value)
        assert "second line" not in str(caught.value)

    @pytest.mark.parametrize(
        ("example", "message"),
        [
            (torch.rand(2, 5), r"takes images of shape \(B, C, H, W\), not inputs of shape \(2, 5\)"),
            ({"ids": torch.zeros(2, 3)}, r"takes images .* not named inputs \(ids\)"),
        ],
    )
    def test_other_inputs_than_images_are_refused(self, example: Any, message: str) -> None:
        for spec in ("timm:resnet18", "torchvision:resnet18"):
            with pytest.raises(LimbeckError, match=f"{spec} {message}"):
                made(spec, example)

    def test_torchvision_takes_three_channels(self) -> None:
        with pytest.raises(LimbeckError, match="torchvision:resnet18 takes images of 3 channels, not 1"):
            made("torchvision:resnet18", GRAY)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_package_that_is_not_installed_is_named_with_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LimbeckError) as caught:
        build(f"{package}:resnet18", example=IMAGES, num_classes=10)
    assert str(caught.value) == f"{package} is not installed; `pip install 'limbeck[zoo]'` brings it"


@pytest.mark.parametrize(
    "problem",
    [
        ModuleNotFoundError("No module named 'torchvision'", name="torchvision"),
        ImportError("undefined symbol"),
        RuntimeError("operator torchvision::nms does not exist"),
    ],
)
def test_a_package_that_does_not_fit_this_torch_says_why(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", broken)
        with pytest.raises(LimbeckError) as caught:
            build("timm:resnet18", example=IMAGES, num_classes=10)
    assert str(caught.value) == f"timm cannot be imported: {problem}"


@pytest.mark.parametrize(
    ("spec", "fetches", "alone"),
    [
        ("timm:resnet18", False, "timm:resnet18"),
        ("timm:resnet18(pretrained=false)", False, "timm:resnet18(pretrained=false)"),
        ("timm:resnet18.a1(pretrained=true, depth=2)", True, "timm:resnet18.a1(depth=2)"),
        ('torchvision:resnet18(weights="DEFAULT")', True, "torchvision:resnet18"),
        ('torchvision:inception_v3(weights="V1")', True, "torchvision:inception_v3(transform_input=True)"),
        (
            'torchvision:googlenet(weights="V1", aux_logits=true)',
            True,
            "torchvision:googlenet(transform_input=True, aux_logits=True)",
        ),
        (
            'torchvision:deeplabv3_resnet50(weights="DEFAULT")',
            True,
            "torchvision:deeplabv3_resnet50(aux_loss=True)",
        ),
        (
            'torchvision:lraspp_mobilenet_v3_large(weights="DEFAULT")',
            True,
            "torchvision:lraspp_mobilenet_v3_large",
        ),
        (
            'torchvision:deeplabv3_resnet50(weights_backbone="DEFAULT", aux_loss=true)',
            False,
            "torchvision:deeplabv3_resnet50(aux_loss=True)",
        ),
    ],
)
def test_a_spec_without_the_weights_it_fetches(spec: str, fetches: bool, alone: str) -> None:
    assert fetches_weights(spec) is fetches
    assert untrained(spec) == alone
    assert not fetches_weights(untrained(spec))


@pytest.mark.parametrize("spec", ["mlp", "cnn(channels=[4])", "my_models:make(weights=true)"])
def test_a_spec_of_no_zoo_stays_as_it_is(spec: str) -> None:
    assert untrained(spec) == spec


@pytest.mark.usefixtures("_zoos")
def test_a_user_s_own_module_of_a_longer_name_is_no_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimbeckError, match=r"cannot import the module 'timm\.models\.nowhere'"):
        build("timm.models.nowhere:make", example=IMAGES)
