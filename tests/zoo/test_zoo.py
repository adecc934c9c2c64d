"""The doors to timm and torchvision, with the real packages: `make test-zoo` installs them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from torch import Tensor, nn

import limbeck
from limbeck import models
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Tap, find
from limbeck.models import IMAGENET, Normalization, build, normalization_of
from limbeck.runs import Run

REASON = "timm and torchvision are not installed; `make test-zoo` runs these tests where they are"
timm = pytest.importorskip("timm", reason=REASON)
torchvision = pytest.importorskip("torchvision", reason=REASON)


def images(size: int, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def lively(spec: str, size: int) -> nn.Module:
    """A network of a zoo for 7 classes, in eval mode, with batch norms that are not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(spec, example=images(size), num_classes=7)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                module.running_mean.normal_(0, 0.1)
                module.weight.data.uniform_(0.5, 1.5)
    return network.eval()


def shown(network: nn.Module, inputs: Tensor) -> tuple[FeaturePoints, Any]:
    points = find(network, inputs)
    with torch.no_grad():
        return points, Tap(network, points, ["embedding", "stages", "stem"])(inputs)


def texts(points: FeaturePoints) -> list[str]:
    return [str(point) for point in points.stages]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("resnet18", 32),  # the last stage has one pixel
        ("resnetv2_50", 32),
        ("wide_resnet50_2", 32),
        ("convnext_atto", 64),
        ("efficientnet_b0", 64),
        ("mobilenetv2_050", 32),
        ("regnetx_002", 64),
        ("repvgg_a0", 64),
        ("poolformer_s12", 64),
        ("mambaout_femto", 64),  # (B, H, W, C)
        ("swin_tiny_patch4_window7_224", 224),
        ("swinv2_tiny_window8_256", 256),
    ],
)
def test_the_stages_that_timm_itself_names_are_found(name: str, size: int) -> None:
    network, inputs = lively(f"timm:{name}", size), images(size)
    _, outputs = shown(network, inputs)
    with torch.no_grad():
        theirs = network.forward_intermediates(inputs, intermediates_only=True)[-4:]  # type: ignore[operator]
    assert len(outputs.stages) == 4
    for stage, expected in zip(outputs.stages, theirs, strict=True):
        torch.testing.assert_close(stage, expected)


@pytest.mark.parametrize(
    ("spec", "size", "stages", "shapes"),
    [
        ("resnet18", 64, ["layer1", "layer2", "layer3", "layer4"], [(64, 16), (128, 8), (256, 4), (512, 2)]),
        (
            "mobilenet_v3_small",
            64,
            ["features.1", "features.3", "features.8", "features.11"],
            [(16, 16), (24, 8), (48, 4), (96, 2)],
        ),
        (
            "convnext_tiny",
            64,
            ["features.1", "features.3", "features.5", "features"],
            [(96, 16), (192, 8), (384, 4), (768, 2)],
        ),
        (
            "swin_t",
            64,
            ["features.1", "features.3", "features.5", "features"],
            [(96, 16), (192, 8), (384, 4)],
        ),
        (
            "vgg11_bn",
            32,
            ["features.6", "features.13", "features.20", "features.27"],
            [(128, 16), (256, 8), (512, 4), (512, 2)],
        ),
    ],
)
def test_the_stages_of_torchvision_s(
    spec: str, size: int, stages: list[str], shapes: list[tuple[int, int]]
) -> None:
    points, outputs = shown(lively(f"torchvision:{spec}", size), images(size))
    assert texts(points) == stages
    for stage, (channels, side) in zip(outputs.stages, shapes, strict=False):
        assert stage.shape == (2, channels, side, side)


def test_stages_with_channels_last_are_torchvision_s_own_turned() -> None:
    network, inputs = lively("torchvision:swin_t", 64), images(64)
    _, outputs = shown(network, inputs)
    maps, own = inputs, []
    with torch.no_grad():
        for part in network.get_submodule("features").children():
            maps = part(maps)
            own.append(maps.movedim(-1, 1))
    for found, expected in zip(outputs.stages, own[1::2], strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("spec", "size", "stages"),
    [
        ("timm:vit_tiny_patch16_224(img_size=32)", 32, ["blocks.2", "blocks.5", "blocks.8", "blocks"]),
        ("timm:mixer_s32_224", 224, ["blocks.1", "blocks.3", "blocks.5", "blocks"]),
        (
            "torchvision:vit_b_32",
            224,
            [*(f"encoder.layers.encoder_layer_{layer}" for layer in (2, 5, 8)), "encoder.layers"],
        ),
    ],
)
def test_token_models_are_divided_in_quarters(spec: str, size: int, stages: list[str]) -> None:
    points, outputs = shown(lively(spec, size), images(size))
    assert texts(points) == stages
    assert all(stage.shape == outputs.stages[0].shape and stage.ndim == 3 for stage in outputs.stages)


@pytest.mark.parametrize(
    ("spec", "size", "head"),
    [
        ("timm:resnet18", 32, "fc"),
        ("timm:convnext_atto", 32, "head.fc"),
        ("timm:efficientnet_b0", 32, "classifier"),
        ("timm:vit_tiny_patch16_224(img_size=32)", 32, "head"),
        ("torchvision:resnet18", 32, "fc"),
        ("torchvision:mobilenet_v3_small", 32, "classifier.3"),
        ("torchvision:vit_b_32", 224, "heads.head"),
    ],
)
def test_the_embedding_enters_the_classifier(spec: str, size: int, head: str) -> None:
    network = lively(spec, size)
    _, outputs = shown(network, images(size))
    with torch.no_grad():
        torch.testing.assert_close(network.get_submodule(head)(outputs.embedding), outputs.logits)


@pytest.mark.parametrize(
    ("teacher", "student", "objective"),
    [
        ("timm:resnet18", "torchvision:mobilenet_v3_small", "ce + kd(temperature=4) + 1000*at"),
        ("torchvision:swin_t", "timm:resnet18", "ce + 1000*at + fitnet"),
        ("timm:vit_tiny_patch16_224(img_size=64)", "timm:resnet18", "ce + kd(temperature=4) + 3000*sp"),
        ("timm:convnext_atto", "resnet8", "ce + icd(alpha=0.5)"),
    ],
)
def test_a_step_of_distillation(teacher: str, student: str, objective: str) -> None:
    inputs, targets = images(64), torch.tensor([0, 3])
    learner, source = lively(student, 64), lively(teacher, 64)
    distiller = limbeck.Distiller(learner, source, objective, example=inputs)
    optimizer = distiller.optimizer(lambda parameters: torch.optim.SGD(parameters, lr=0.01))
    before = [copy.deepcopy(network.state_dict()) for network in (learner, source)]
    losses = distiller(inputs, targets)
    losses.backward()
    optimizer.step()
    assert torch.isfinite(losses.total)
    changed = [
        any(not torch.equal(tensor, old[key]) for key, tensor in network.state_dict().items())
        for network, old in zip((learner, source), before, strict=True)
    ]
    assert changed == [True, False]


QUICK = ("--epochs", "1", "--batch-size", "250", "--set", "training.trackers=[]")


def test_from_data_to_a_student_and_back(command: Command) -> None:
    assert command("train", "--model", "timm:test_resnet", "--out", "teacher", *QUICK).code == 0
    student = ("--student", "timm:test_resnet(drop_rate=0.1)", "--teacher", "teacher")
    trusted = ("--set", "teacher.trust=true")  # with some versions of timm so few steps teach it nothing
    answer = command("distill", *student, "--objective", "ce + kd + at", "--out", "run", *trusted, *QUICK)
    assert answer.code == 0, answer.err
    loaded = limbeck.load("run")
    assert type(loaded).__module__.startswith("timm.")
    assert normalization_of(loaded) is not None
    assert Run(Path("run")).result.metrics.test is not None
    torch.save({"model": loaded.state_dict()}, "w.pth")
    images = ("--classes", "10", "--input", "1x8x8", "--normalization", "none")
    assert command("import", "w.pth", "--model", "timm:test_resnet", *images, "--out", "imported").code == 0
    assert "(2, 10)" in command("inspect", "imported", "--input", "1x8x8").out


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:resnt18", "unknown network of timm: 'resnt18'; did you mean 'resnet18'?"),
        ("timm:resnet18.a1_in2k", r"timm:resnet18\.a1_in2k: Invalid pretrained tag \(a1_in2k\) for resnet18"),
        ("timm:resnet18(drop=1)", "timm:resnet18: .*unexpected keyword argument 'drop'"),
        ("torchvision:raft_small", "unknown network of torchvision: 'raft_small'"),
        ('torchvision:resnet18(weights="IMAGENET2K")', "did you mean 'IMAGENET1K_V1'"),
        ("torchvision:resnet18(dropout=1)", "torchvision:resnet18: .*unexpected keyword argument 'dropout'"),
        (
            'torchvision:resnet18(weights="DEFAULT")',
            "torchvision:resnet18: The parameter 'num_classes' expected value 1000 but got 7 instead",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(spec: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        build(spec, example=images(32), num_classes=7)


def test_images_of_another_size_than_the_network_s(tmp_path: Path) -> None:
    source = limbeck.data.from_tensors(torch.rand(20, 3, 32, 32), torch.arange(20) % 4)
    with pytest.raises(
        LimbeckError, match=r"the student cannot take inputs of shape \(3, 32, 32\): Input height \(32\) does"
    ):
        limbeck.train(model="timm:vit_tiny_patch16_224", data=source, out=tmp_path / "run", display=False)


def test_fetched_weights_bring_their_normalization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda network, **rest: None)
    network = build("timm:vit_tiny_patch16_224(pretrained=true)", example=images(224), num_classes=7)
    assert normalization_of(network) == Normalization((0.5,) * 3, (0.5,) * 3)
    assert normalization_of(build("timm:resnet18(pretrained=true)", example=images(32))) == IMAGENET

    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda *given, **rest: state)
    network = build('torchvision:resnet18(weights="DEFAULT")', example=images(32), num_classes=1000)
    assert normalization_of(network) == IMAGENET
    assert torch.equal(network.state_dict()["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_network_that_changes_with_its_weights_is_rebuilt_as_it_was(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torchvision.models.get_model_weights(name)
    fresh = torchvision.models.get_model(name, init_weights=False)
    monkeypatch.setattr(weights, "get_state_dict", lambda *given, **rest: fresh.state_dict())
    spec = f'torchvision:{name}(weights="DEFAULT")'
    network, again = build(spec, num_classes=1000), build(models.zoos.untrained(spec), num_classes=1000)
    models.load_into(again, network.state_dict(), spec)
    normalize = normalization_of(network)
    assert normalize == IMAGENET
    models.normalize_inputs(again, normalize)
    with torch.no_grad():
        assert torch.equal(network.eval()(images(96)), again.eval()(images(96)))
