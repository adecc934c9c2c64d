from __future__ import annotations

from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]
import pytest
import torch
from PIL import Image

from limbeck.data import Source, from_images, from_table, from_text
from limbeck.errors import LimbeckError


def cells(folder: Path, weights: object = None, name: str = "cells.csv") -> Path:
    """A table of 40 rows in which the feature `size` is the number of the row plus a half."""
    table = pd.DataFrame({"size": [row + 0.5 for row in range(40)], "kind": ["a", "b"] * 20})
    table["w"] = [float(row + 1) for row in range(40)] if weights is None else weights
    table.to_csv(folder / name, index=False)
    return folder / name


def by_size(source: Source) -> dict[float, float]:
    """The weight of each training sample by its feature."""
    assert source.train.weights is not None
    sizes = source.train.samples.take(source.train.index, torch.zeros_like(source.train.index))
    assert isinstance(sizes, torch.Tensor)
    return dict(zip(sizes[:, 0].tolist(), source.train.weights.tolist(), strict=True))


@pytest.mark.parametrize("columns", [(), ("size",)])
def test_each_training_row_of_a_table_keeps_its_weight(tmp_path: Path, columns: tuple[str, ...]) -> None:
    source = from_table(str(cells(tmp_path)), label="kind", columns=columns, weights="w")
    assert source.columns == ("size",), "the weights are no feature"
    assert by_size(source) == {size: size + 0.5 for size in by_size(source)}
    assert source.validation is not None
    assert (source.validation.weights, source.train.range_of_weights) == (
        None,
        (min(by_size(source).values()), max(by_size(source).values())),
    )
    assert source.name.endswith('label="kind", columns=["size"], weights="w")' if columns else 'weights="w")')


def test_what_samples_weigh_is_part_of_the_data(tmp_path: Path) -> None:
    file = cells(tmp_path)
    plain = from_table(str(file), label="kind", columns=["size"])
    weighed = from_table(str(file), label="kind", columns=["size"], weights="w")
    other = from_table(str(cells(tmp_path, 2.0)), label="kind", columns=["size"], weights="w")
    assert len({each.fingerprint() for each in (plain, weighed, other)}) == 3
    assert plain.train.weights is None


def test_texts_in_lines_of_json(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "text": [f"word{row} and more" for row in range(40)],
            "label": ["x", None, "y", "x"] * 10,
            "w": [row / 8 for row in range(40)],
        }
    )
    rows.to_json(tmp_path / "texts.jsonl", orient="records", lines=True)
    source = from_text(str(tmp_path / "texts.jsonl"), weights="w")
    assert source.train.weights is not None
    texts = source.train.samples.corpus.texts  # type: ignore[attr-defined]
    assert [float(text.split()[0][4:]) / 8 for text in texts] == source.train.weights.tolist()


def test_images_of_a_table(tmp_path: Path) -> None:
    for row in range(30):
        Image.new("L", (8, 8), row).save(tmp_path / f"{row}.png")
    table = pd.DataFrame(
        {"image": [f"{row}.png" for row in range(30)], "label": ["a", "b"] * 15, "w": range(30)}
    )
    table.to_csv(tmp_path / "train.csv", index=False)
    source = from_images(str(tmp_path), gray=True, weights="w")
    images = source.train.samples.take(source.train.index, torch.zeros_like(source.train.index))
    assert isinstance(images, torch.Tensor)
    assert source.train.weights is not None
    assert images[:, 0, 0, 0].tolist() == source.train.weights.tolist()


def test_a_split_without_training_samples_needs_no_weights(tmp_path: Path) -> None:
    cells(tmp_path, name="train.csv")
    pd.DataFrame({"size": [0.25, 0.75], "kind": ["a", "b"]}).to_csv(tmp_path / "test.csv", index=False)
    source = from_table(data_dir=tmp_path, label="kind", weights="w")
    assert source.test is not None
    assert source.test.weights is None


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            [1.0] * 4 + [-0.5] + [1.0] * 35,
            "the weight of row 5 of .* is -0.5",
        ),
        ([1.0] * 7 + [float("nan")] + [1.0] * 32, "the column 'w' is empty in row 8 of"),
        ([float("inf")] + [1.0] * 39, "the weight of row 1 of .* is inf"),
        (["1"] * 2 + ["much"] + ["1"] * 37, "the column 'w' holds 'much' in row 3 of"),
        ([0.0] * 40, "all weights of the training samples are 0, so there is nothing to learn"),
    ],
)
def test_what_is_no_weight_is_refused_with_its_row(tmp_path: Path, weights: object, said: str) -> None:
    with pytest.raises(LimbeckError, match=said):
        from_table(str(cells(tmp_path, weights)), label="kind", weights="w")


def test_a_column_that_is_not_there_or_is_something_else(tmp_path: Path) -> None:
    file = str(cells(tmp_path))
    with pytest.raises(LimbeckError, match="unknown column of"):
        from_table(file, label="kind", weights="weight")
    with pytest.raises(LimbeckError, match="the weights cannot be in the column 'kind', which is read for"):
        from_table(file, label="kind", weights="kind")
