"""Runs with networks of transformers that label pixels and find objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import state_of

import limbeck
from box_files import write_yolo
from limbeck.config import TeacherConfig
from limbeck.errors import LimbeckError
from limbeck.evaluation import results
from limbeck.models import normalization_of
from limbeck.runs import networks
from limbeck.runs.exporting import export
from limbeck.tasks.detection.findings import BoxFindings
from mask_files import write_layout

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

FAST: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 4,
    "settings": {"training.trackers": [], "training.precision": "fp32"},
    "display": False,
}
PIXELS: dict[str, Any] = {"data": 'segmentation(names=["a", "b", "c"])', **FAST}
OBJECTS: dict[str, Any] = {"data": "detection", "baseline": "none", **FAST, "batch_size": 8}
STUDENT = "fcos(channels=[8, 8, 8], levels=2, width=8)"


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("masks")
    write_layout(place, "{split}/{n}.png", "{split}annot/{n}.png", count=4)
    return place


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    place = tmp_path_factory.mktemp("boxes")
    write_yolo(place, {"train": 8, "valid": 4, "test": 4})
    return place


def save(network: Any, place: Path, **processor: Any) -> Path:
    network.save_pretrained(place)
    settings = {"do_rescale": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (place / "preprocessor_config.json").write_text(json.dumps({**settings, **processor}))
    return place


def segmenter(place: Path, names: str, **processor: Any) -> Path:
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[4, 8],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[1, 1],
        decoder_hidden_size=4,
        id2label=dict(enumerate(names)),
    )
    settings = {"image_processor_type": "SegformerImageProcessor", "do_resize": False, **processor}
    return save(transformers.SegformerForSemanticSegmentation(config), place, **settings)


def finder(place: Path, names: tuple[str, ...] = ("blue", "red")) -> Path:
    torch.manual_seed(0)
    config = transformers.YolosConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=[32, 40],
        patch_size=8,
        num_detection_tokens=6,
        id2label=dict(enumerate(names)),
    )
    size = {"shortest_edge": 512, "longest_edge": 800}
    settings = {"image_processor_type": "YolosImageProcessor", "do_resize": True, "size": size}
    return save(transformers.YolosForObjectDetection(config), place, **settings)


def test_a_segmenter_learns_from_another_whose_outputs_have_another_order(
    masks: Path, tmp_path: Path
) -> None:
    teacher, student = segmenter(tmp_path / "teacher", "cab"), segmenter(tmp_path / "student", "abc")
    run = limbeck.distill(
        student=f"hf:{student}",
        teacher=f"hf:{teacher}",
        objective="ce + kd + cwd",
        data_dir=masks,
        out=tmp_path / "run",
        **{**PIXELS, "baseline": "none", "settings": {**FAST["settings"], "teacher.trust": True}},
    )
    loaded: Any = limbeck.load(run)
    assert type(loaded) is transformers.SegformerForSemanticSegmentation
    assert loaded.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert normalization_of(loaded) is not None
    whole = transformers.AutoModelForSemanticSegmentation.from_pretrained(teacher).eval()
    images = run.data().example(4)
    assert isinstance(images, torch.Tensor)
    taught = networks.teacher(TeacherConfig(model=f"hf:{teacher}"), run.data()).eval()
    expected = whole((images - 0.5) / 0.25).logits[:, [1, 2, 0]]  # its outputs are c, a, b
    torch.testing.assert_close(taught(images).logits, expected)
    found = results.read(run.path / "evaluation.json")
    assert found is not None
    assert found.networks["teacher"].metrics.keys() == {"miou", "pixel_accuracy", "mean_accuracy"}
    lines = export(run.path, "hf").lines
    assert "all decisions are the same" in lines[-1]


def test_a_student_s_head_is_reordered_or_fresh(masks: Path, tmp_path: Path) -> None:
    place = segmenter(tmp_path / "net", "cab")
    again = {**PIXELS, "data_dir": masks, "lr": 1e-12, "settings": {**FAST["settings"]}}
    run = limbeck.train(model=f"hf:{place}", out=tmp_path / "ordered", **again)
    before = transformers.AutoModelForSemanticSegmentation.from_pretrained(place).state_dict()
    after = state_of(run)
    head = "decode_head.classifier.weight"
    torch.testing.assert_close(after[head], before[head][[1, 2, 0]])
    other = segmenter(tmp_path / "other", "xyz")
    fresh = limbeck.train(model=f"hf:{other}", out=tmp_path / "fresh", **again)
    assert (state_of(fresh)[head] - before[head]).abs().max() > 1e-4
    body = next(key for key in before if key.startswith("segformer."))
    torch.testing.assert_close(state_of(fresh)[body], before[body])


def test_a_processor_that_crops_is_refused(masks: Path, tmp_path: Path) -> None:
    place = segmenter(
        tmp_path / "net",
        "abc",
        image_processor_type="MobileNetV2ImageProcessor",
        do_center_crop=True,
        crop_size={"height": 4, "width": 4},
    )
    with pytest.raises(LimbeckError, match=r"crops images, and what it cuts off has labels too; set"):
        limbeck.train(model=f"hf:{place}", data_dir=masks, out=tmp_path / "run", **PIXELS)


def test_a_network_for_pixels_is_no_teacher_of_whole_images(masks: Path, tmp_path: Path) -> None:
    place = segmenter(tmp_path / "net", "abc")
    with pytest.raises(LimbeckError, match=r"is for segmentation, and digits is for classification"):
        limbeck.distill(
            student="cnn(channels=[4])", teacher=f"hf:{place}", data="digits", out=tmp_path / "run", **FAST
        )


def test_objects_of_a_detector_teach_a_student_and_are_measured(boxes: Path, tmp_path: Path) -> None:
    teacher = finder(tmp_path / "teacher")
    given = {**OBJECTS, "settings": {**FAST["settings"], "teacher.trust": True}}
    run = limbeck.distill(
        student=STUDENT,
        teacher=f"hf:{teacher}",
        objective="fcos + pseudo_boxes(least=0.2)",
        data_dir=boxes,
        out=tmp_path / "run",
        **given,
    )
    found = results.read(run.path / "evaluation.json")
    assert found is not None
    assert isinstance(found.networks["teacher"].findings, BoxFindings)
    assert found.networks["teacher"].findings.images == 4
    notes = " ".join(run.result.notes)
    assert "the teacher" in notes
    assert "its image processor would resize them first" in notes
    for method in ("kd", "giou"):
        with pytest.raises(LimbeckError, match=rf"{method} compares detectors at the same places"):
            limbeck.distill(
                student=STUDENT,
                teacher=f"hf:{teacher}",
                objective=f"fcos + {method}",
                data_dir=boxes,
                out=tmp_path / "other",
                **given,
            )
    with pytest.raises(LimbeckError, match=r"is no student for detection.*take fcos.*pseudo_boxes"):
        limbeck.train(
            model=f"hf:{teacher}",
            data_dir=boxes,
            out=tmp_path / "other",
            **{name: value for name, value in OBJECTS.items() if name != "baseline"},
        )


def test_a_detector_without_a_class_of_the_data_is_refused(boxes: Path, tmp_path: Path) -> None:
    teacher = finder(tmp_path / "teacher", ("red", "green", "N/A", "N/A"))
    with pytest.raises(LimbeckError, match=r"has no output for 'blue' .*'red', 'green', 'N/A 2', 'N/A 3'"):
        limbeck.distill(
            student=STUDENT,
            teacher=f"hf:{teacher}",
            objective="fcos + pseudo_boxes",
            data_dir=boxes,
            out=tmp_path / "run",
            **OBJECTS,
        )
