from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from evaluations_for_reports import evaluation
from PIL import Image

from limbeck import data
from limbeck.evaluation.results import Evaluation, Mistake
from limbeck.report.inputs import mistakes


def found(*indices: int, classes: int = 10, names: tuple[str, ...] | None = None) -> Evaluation:
    made = tuple(Mistake(index=index, target=1, student=0, teacher=1) for index in indices)
    changes = {"mistakes": made, **({"class_names": names} if names else {})}
    return evaluation(classes=classes).model_copy(update=changes)


def test_images_are_those_of_the_test_split_pixel_by_pixel() -> None:
    source = data.load("digits")
    assert source.test is not None
    gallery = mistakes(found(3, 17), source)
    assert gallery is not None
    assert [sample.says for sample in gallery.samples] == [{"is": "1", "taken for": "0"}] * 2
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
    gallery = mistakes(found(2), data.from_tensors(*pair, validation=pair, test=pair))
    assert gallery is not None
    body = gallery.samples[0].picture.partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (128, 16)


def test_texts_are_read_back_from_their_tokens(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = [f"is card {number} lost,{'yes' if number % 2 else 'no'}" for number in range(20)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    source = data.from_text(data_dir=tmp_path)
    gallery = mistakes(found(5, names=("no", "yes")), source)
    assert gallery is not None
    assert gallery.samples[0].text == "is card 5 lost"
    assert gallery.samples[0].says == {"is": "yes", "taken for": "no"}


def test_rows_of_a_table_are_shown_as_numbers() -> None:
    source = data.load("wine")
    gallery = mistakes(found(0, names=("a", "b", "c")), source)
    assert gallery is not None
    values = gallery.samples[0].text.split(", ")
    assert len(values) == 13
    assert values[-1] == "…"
    assert source.test is not None
    rows = source.test.samples.take(source.test.index[:1], torch.zeros(1, dtype=torch.int64))
    assert isinstance(rows, torch.Tensor)
    assert float(values[0]) == float(f"{rows[0, 0]:.4g}")


def test_where_there_is_nothing_to_show() -> None:
    source = data.load("digits")
    assert mistakes(found(), source) is None
    assert mistakes(found(1), replace(source, test=None)) is None
