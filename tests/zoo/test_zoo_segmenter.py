"""Networks of timm with a head that labels pixels; `make test-zoo` installs timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from torch import nn

import limbeck
from limbeck.errors import LimbeckError
from limbeck.features import find
from limbeck.models import IMAGENET, build, normalization_of
from limbeck.models.zoos import fetches_weights, untrained
from mask_files import write_layout

timm = pytest.importorskip("timm", reason="`make test-zoo` runs these tests where it is")

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
QUICK = ("--epochs", "1", "--batch-size", "4", "--set", "training.trackers=[]")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ('resnet18(head="deeplab", output_stride=16)', (4, 6)),
        ('resnet18(head="deeplab", output_stride=8, rates=[6, 12], width=16)', (8, 12)),
        ('mobilenetv3_small_100(head="lraspp")', (8, 12)),
        ('convnext_atto(head="lraspp", width=16)', (8, 12)),
        ('swin_s3_tiny_224(head="deeplab", img_size=[64, 96])', (2, 3)),  # its maps end with the channels
    ],
)
def test_the_stages_are_those_of_timm_and_the_logits_of_the_classes(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network: Any = build(f"timm:{name}", example=IMAGES, num_classes=5).eval()
    logits, stages = network(IMAGES), network.trunk(IMAGES)
    assert logits.shape == (2, 5, *size)
    own = network.trunk.network(IMAGES)
    last = stages[-1].permute(0, 2, 3, 1) if name.startswith("swin") else stages[-1]
    assert torch.equal(own[-1], last)
    assert [each.shape[1] for each in stages] == network.trunk.network.feature_info.channels()
    points = find(network, IMAGES, width=5, dense=True)
    assert [str(stage) for stage in points.stages][:-1] == [f"trunk.stages.{at}" for at in range(len(stages))]
    assert str(points.embedding) == "pool(head.logits:input)"


def test_weights_are_drawn_by_timm_and_trained_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(model: nn.Module, **given: Any) -> None:
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.25)

    monkeypatch.setattr("timm.models._builder.load_pretrained", fetched)
    spec = 'timm:resnet18(head="lraspp", pretrained=true, output_stride=16, aux=True)'
    network: Any = build(spec, example=IMAGES, num_classes=5)
    assert all((each == 0.25).all() for each in network.trunk.parameters())
    assert network.head.logits.weight.std() > 0.01
    assert normalization_of(network) == IMAGENET
    assert network.eval()(IMAGES).keys() == {"out", "aux"}
    assert not fetches_weights(spec)  # those of the head are fresh: it is no teacher yet
    assert fetches_weights("timm:resnet18(pretrained=true)")
    assert untrained(spec) == 'timm:resnet18(head="lraspp", output_stride=16, aux=True)'


def test_a_segmenter_is_distilled_and_had_back(command: Command, tmp_path: Path) -> None:
    write_layout(tmp_path / "masks", "{split}/{n}.png", "{split}annot/{n}.png", count=4)
    data = ("--data", 'segmentation(names=["a", "b", "c"])', "--data-dir", str(tmp_path / "masks"))
    teacher = 'timm:test_resnet(head="deeplab", width=16, aux=true)'
    answer = command("train", "--model", teacher, *data, "--out", "teacher", *QUICK)
    assert answer.code == 0, answer.err
    student = ("--student", 'timm:test_efficientnet(head="lraspp", width=8)', "--baseline", "none")
    taught = ("--teacher", "teacher", "--set", "teacher.trust=true", "--objective", "ce + kd + at")
    answer = command("distill", *student, *taught, *data, "--out", "run", *QUICK)
    assert answer.code == 0, answer.err
    loaded = limbeck.load("run")
    assert type(loaded).__name__ == "TimmSegmenter"
    assert normalization_of(loaded) is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('timm:resnet18(head="unet")', "head"),
        ('timm:resnet18(head="lraspp", width="wide")', "width"),
        ('timm:resnet18(head="lraspp", output_stride=8)', "lraspp joins maps at an eighth of the image"),
        ('timm:resnet18(head="deeplab", colour=3)', "colour"),
        ('timm:resnt18(head="deeplab")', "did you mean 'resnet18'"),
    ],
)
def test_bad_arguments_are_named(spec: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        build(spec, example=IMAGES, num_classes=5)
