from __future__ import annotations

import base64
import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from evaluations_for_reports import evaluation
from PIL import Image

from limbeck import data
from limbeck.evaluation.results import Evaluation
from limbeck.report.inputs import _beside, _color, examples
from limbeck.tasks import Example
from limbeck.tasks.segmentation.findings import PixelExample


def found(*indices: int, target: str = "1", student: str = "0", teacher: str = "1") -> Evaluation:
    made = evaluation()
    assert made.agreement is not None
    named = tuple(Example(index=at, target=target, student=student, teacher=teacher) for at in indices)
    return made.model_copy(update={"agreement": made.agreement.model_copy(update={"examples": named})})


def test_images_are_those_of_the_test_split_pixel_by_pixel() -> None:
    source = data.load("digits")
    assert source.test is not None
    gallery = examples(found(3, 17), source)
    assert gallery is not None
    assert [sample.says for sample in gallery.samples] == [{"target": "1", "student": "0"}] * 2
    index = source.test.index[torch.tensor([3, 17])]
    pixels = source.test.samples.take(index, torch.zeros_like(index))
    assert isinstance(pixels, torch.Tensor)
    for sample, expected in zip(gallery.samples, pixels, strict=True):
        header, _, body = sample.picture.partition(",")
        assert header == "data:image/png;base64"
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
        assert picture.shape == (8, 8, 3)
        assert (picture[..., 0] == expected[0].numpy()).all()


def test_large_images_are_reduced() -> None:
    images = torch.zeros(4, 3, 64, 512, dtype=torch.uint8)
    pair = (images, torch.arange(4) % 2)
    gallery = examples(found(2), data.from_tensors(*pair, validation=pair, test=pair))
    assert gallery is not None
    body = gallery.samples[0].picture.partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (128, 16)


def test_texts_are_read_back_from_their_tokens(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = [f"is card {number} lost,{'yes' if number % 2 else 'no'}" for number in range(20)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    source = data.from_text(data_dir=tmp_path)
    gallery = examples(found(5, target="yes", student="no", teacher="yes"), source)
    assert gallery is not None
    assert gallery.samples[0].text == "is card 5 lost"
    assert gallery.samples[0].says == {"target": "yes", "student": "no"}


def test_rows_of_a_table_are_shown_as_numbers() -> None:
    source = data.load("wine")
    gallery = examples(found(0), source)
    assert gallery is not None
    values = gallery.samples[0].text.split(", ")
    assert len(values) == 13
    assert values[-1] == "…"
    assert source.test is not None
    rows = source.test.samples.take(source.test.index[:1], torch.zeros(1, dtype=torch.int64))
    assert isinstance(rows, torch.Tensor)
    assert float(values[0]) == float(f"{rows[0, 0]:.4g}")


def test_what_the_teacher_says_is_shown_where_it_is_not_the_target() -> None:
    gallery = examples(found(0, target="3.0", student="9.1", teacher="3.2"), data.load("digits"))
    assert gallery is not None
    assert gallery.samples[0].says == {"target": "3.0", "student": "9.1", "teacher": "3.2"}
    assert gallery.samples[0].label == "a sample of 3.0"


def test_where_there_is_nothing_to_show() -> None:
    source = data.load("digits")
    assert examples(found(), source) is None
    assert examples(found(1), replace(source, test=None)) is None
    assert examples(evaluation(teacher=False), source) is None


def test_maps_stand_beside_an_image_in_the_colors_of_voc() -> None:
    maps = [[0, 1, 2, 255], [0, 1, 1, 1], [0, 1, 2, 2]]
    texts = [base64.b64encode(zlib.compress(bytes(ids))).decode() for ids in maps]
    example = PixelExample(
        index=0, target="a", student="b", teacher="a", size=(2, 2), maps=(texts[0], texts[1], texts[2])
    )
    strip = _beside(Image.new("RGB", (2, 2), (9, 8, 7)), example)
    assert strip.size == (14, 2)
    colors = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 255: (255, 255, 255)}
    assert [_color(number) for number in colors] == list(colors.values())
    assert strip.getpixel((0, 0)) == (9, 8, 7)
    for place, ids in enumerate(maps, 1):
        found = [strip.getpixel((4 * place + x, y)) for y in (0, 1) for x in (0, 1)]
        assert found == [colors[number] for number in ids]
