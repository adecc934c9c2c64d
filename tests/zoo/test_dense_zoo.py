"""Networks of torchvision that label pixels and find objects; `make test-zoo` installs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command

import limbeck
from box_files import write_yolo
from limbeck.errors import LimbeckError
from limbeck.features import find
from limbeck.models import IMAGENET, build, normalization_of
from limbeck.models.object_answers import finds_objects
from limbeck.outputs import Outputs
from limbeck.runs.zoo_networks import card_of
from limbeck.tasks import Detection
from limbeck.tasks.detection.decoding import objects
from mask_files import write_layout

torchvision = pytest.importorskip("torchvision", reason="`make test-zoo` runs these tests where it is")

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
QUICK = ("--epochs", "1", "--batch-size", "4", "--set", "training.trackers=[]")
SSD = "torchvision:ssdlite320_mobilenet_v3_large"


def test_a_segmenter_s_maps_stages_and_auxiliary_head_are_found() -> None:
    network = build("torchvision:deeplabv3_mobilenet_v3_large(aux_loss=true)", example=IMAGES, num_classes=5)
    points = find(network, IMAGES, width=5, dense=True)
    assert str(points.logits) == "[out]"
    assert [name for name, _ in points.outputs] == ["aux"]
    assert points.embedding is not None
    assert [str(stage) for stage in points.stages] == [
        "backbone.1",
        "backbone.3",
        "backbone.6",
        "classifier.3",
    ]
    network.eval()
    own = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5, aux_loss=True
    ).eval()
    own.load_state_dict(network.state_dict())
    assert torch.equal(network(IMAGES)["out"], own(IMAGES)["out"])


def test_a_segmenter_is_distilled_and_had_back(command: Command, tmp_path: Path) -> None:
    write_layout(tmp_path / "masks", "{split}/{n}.png", "{split}annot/{n}.png", count=4)
    data = ("--data", 'segmentation(names=["a", "b", "c"])', "--data-dir", str(tmp_path / "masks"))
    teacher = "torchvision:deeplabv3_mobilenet_v3_large(aux_loss=true)"
    assert command("train", "--model", teacher, *data, "--out", "teacher", *QUICK).code == 0
    student = ("--student", "torchvision:lraspp_mobilenet_v3_large", "--baseline", "none")
    taught = ("--teacher", "teacher", "--set", "teacher.trust=true")
    maps = ("--objective", "ce + kd + cwd + at(pairs=[[0, 0], [1, 1]])")
    answer = command("distill", *student, *taught, *maps, *data, "--out", "run", *QUICK)
    assert answer.code == 0, answer.err
    loaded = limbeck.load("run")
    assert type(loaded).__name__ == "LRASPP"
    assert normalization_of(loaded) is not None
    rdd = ("--student", teacher, "--baseline", "none", "--objective", "rdd + kd")
    answer = command("distill", *rdd, *taught, *data, "--out", "other", *QUICK)
    assert answer.code == 0, answer.err


def test_fetched_weights_of_dense_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    models = torchvision.models
    fresh = models.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=21)
    kind = models.segmentation.LRASPP_MobileNet_V3_Large_Weights
    monkeypatch.setattr(kind, "get_state_dict", lambda *given, **rest: fresh.state_dict())
    spec = 'torchvision:lraspp_mobilenet_v3_large(weights="DEFAULT")'
    network = build(spec, example=IMAGES, num_classes=5)  # its 21 outputs are matched by name
    assert normalization_of(network) == IMAGENET
    assert network.eval()(IMAGES)["out"].shape == (2, 21, 64, 96)
    card = card_of(spec)
    assert card is not None
    assert card.names[:3] == ("background", "aeroplane", "bicycle")
    assert card_of("torchvision:lraspp_mobilenet_v3_large") is None
    boxes = card_of(f'{SSD}(weights="DEFAULT")')
    assert boxes is not None
    assert boxes.names[:2] == ("person", "bicycle")
    assert boxes.names[11] == "N/A 11"
    assert (len(boxes.names), boxes.names[-1]) == (91, "background")

    backbone = models.mobilenet_v3_large().state_dict()
    monkeypatch.setattr(models.MobileNet_V3_Large_Weights, "get_state_dict", lambda *given, **rest: backbone)
    spec = 'torchvision:lraspp_mobilenet_v3_large(weights_backbone="DEFAULT")'
    network = build(spec, example=IMAGES, num_classes=5)
    assert normalization_of(network) == IMAGENET
    assert torch.equal(network.state_dict()["backbone.0.0.weight"], backbone["features.0.0.weight"])
    with pytest.raises(LimbeckError, match=r"weights of the backbone of torchvision:.*mean 'IMAGENET1K"):
        build('torchvision:lraspp_mobilenet_v3_large(weights_backbone="IMAGENET1K_V9")', num_classes=5)


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_a_detector_answers_with_the_objects_that_it_finds(name: str) -> None:
    network: Any = build(f"torchvision:{name}", example=IMAGES, num_classes=4)
    assert finds_objects(network)
    assert not network.training
    own = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4).eval()
    own.load_state_dict(network.state_dict())
    with torch.no_grad():
        seen, theirs = objects(Outputs(**network(IMAGES)), 0.0), own(IMAGES)
    for ours, each in zip(seen, theirs, strict=True):
        best = each["scores"].argsort(descending=True, stable=True)[:100]
        assert len(best) > 0
        torch.testing.assert_close(ours.scores[: len(best)], each["scores"][best])
        assert ours.classes[: len(best)].tolist() == (each["labels"][best] - 1).tolist()
        assert torch.equal(ours.boxes[: len(best)], each["boxes"][best])


def test_a_detector_teaches_by_its_objects_and_by_stages() -> None:
    torch.manual_seed(0)
    teacher = build(SSD, example=IMAGES, num_classes=3)
    student = build("fcos(channels=[8, 8, 8], levels=2, width=8)", example=IMAGES, num_classes=3)
    distiller = limbeck.Distiller(
        student,
        teacher,
        "pseudo_boxes(least=0.3) + at(pairs=[[0, 1]])",
        example=IMAGES,
        task=Detection(("a", "b")),
    )
    losses = distiller(IMAGES)
    assert losses["pseudo_boxes.box"] > 0
    assert losses["at"] > 0
    losses.backward()
    with pytest.raises(LimbeckError, match=r"kd compares detectors at the same places.*the teacher, SSD"):
        limbeck.Distiller(student, teacher, "fcos + kd", example=IMAGES, task=Detection(("a", "b")))


def test_a_detector_of_torchvision_from_a_file_of_weights(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    write_yolo(tmp_path / "boxes", {"train": 4, "valid": 2, "test": 2})
    torch.save(build(SSD, num_classes=3).state_dict(), "w.pth")
    data = ("--data", "detection", "--data-dir", str(tmp_path / "boxes"), *QUICK)
    taught = ("--teacher", SSD, "--set", "teacher.weights=w.pth", "--set", "teacher.trust=true")
    student = ("--student", "fcos(channels=[8, 8, 8], levels=2, width=8)", "--baseline", "none")
    objective = ("--objective", "fcos + pseudo_boxes(least=0.3)")
    answer = command("distill", *student, *taught, *objective, *data, "--out", "run")
    assert answer.code == 0, answer.err
    assert "normalization" not in answer.out + answer.err
    refused = command("train", "--model", SSD, *data, "--out", "other")
    assert refused.code == 2
    assert f"{SSD} is no student for detection" in refused.err
    bare = command("distill", *student, "--teacher", SSD, *objective, *data, "--out", "other")
    assert bare.code == 2
    assert "has no weights" in bare.err
