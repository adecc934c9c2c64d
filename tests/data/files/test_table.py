from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn import datasets as sklearn_datasets
from torch import Tensor

from class_counts import class_counts
from limbeck.data import Source, from_table, load
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.errors import LimbeckError


def inputs_of(split: Split | None) -> Tensor:
    assert split is not None
    assert isinstance(split.samples, Resident)
    assert isinstance(split.samples.inputs, Tensor)
    return split.samples.inputs


def rows_of(source: Source) -> Tensor:
    """All rows of all splits, each followed by its target."""
    parts = [part for part in (source.train, source.validation, source.test) if part is not None]
    return torch.cat([torch.cat([inputs_of(part), part.targets[:, None]], 1) for part in parts])


@pytest.mark.parametrize(
    ("name", "sizes", "features", "classes"),
    [
        ("breast_cancer", (365, 91, 113), 30, ("malignant", "benign")),
        ("iris", (96, 24, 30), 4, ("setosa", "versicolor", "virginica")),
        ("wine", (114, 28, 36), 13, ("class_0", "class_1", "class_2")),
    ],
)
def test_bundled_sets(name: str, sizes: tuple[int, ...], features: int, classes: tuple[str, ...]) -> None:
    source = load(name)
    assert (source.name, source.kind, source.task.names) == (name, "table", classes)
    assert source.validation is not None
    assert source.test is not None
    assert (len(source.train), len(source.validation), len(source.test)) == sizes
    assert inputs_of(source.train).shape == (sizes[0], features)
    found = getattr(sklearn_datasets, f"load_{name}")()
    whole = torch.cat([torch.tensor(found.data).float(), torch.tensor(found.target)[:, None]], 1)
    assert sorted(rows_of(source).tolist()) == sorted(whole.tolist())
    shares = class_counts(source.test, len(classes)) / torch.tensor(found.target).bincount()
    assert (shares - 0.2).abs().max() < 0.02
    assert source.fingerprint() == load(name).fingerprint()


def test_standardized_by_the_training_split_alone() -> None:
    source = load("wine")
    train = inputs_of(source.train).double()
    assert source.mean == pytest.approx(train.mean(0).tolist())
    assert source.std == pytest.approx(train.std(0, correction=0).tolist())


def write(file: Path, rows: list[str], header: str = "x,y,label") -> None:
    file.write_text("\n".join([header, *rows]) + "\n")


def test_files(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["1,0.5,b", "2,-1e3,a", "3,0,b", "4,7,a"])
    write(tmp_path / "validation.csv", ["b,9,8", "a,6,5"], "label,y,x")  # columns go by name
    write(tmp_path / "test.csv", ["5,5,a"])
    source = from_table(str(tmp_path))
    assert source.task.names == ("a", "b")
    assert inputs_of(source.train).tolist() == [[1, 0.5], [2, -1000], [3, 0], [4, 7]]
    assert source.train.targets.tolist() == [1, 0, 1, 0]
    assert inputs_of(source.validation).tolist() == [[8, 9], [5, 6]]
    assert inputs_of(source.test).tolist() == [[5, 5]]
    assert inputs_of(source.train).dtype == torch.float32
    assert source.mean == pytest.approx((2.5, (0.5 - 1000 + 7) / 4))


def test_a_single_file_is_parted(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [f"{i},{-i},{i % 2}" for i in range(50)])
    source = load('table(path="a.csv")', tmp_path)
    assert source.name == 'table(path="a.csv")'
    assert source.validation is not None
    assert source.test is not None
    assert (len(source.train), len(source.validation), len(source.test)) == (32, 8, 10)
    assert sorted(rows_of(source).tolist()) == [[i, -i, i % 2] for i in range(50)]


def test_columns_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [f"id{i},{i},{-i},{i % 3}" for i in range(30)], "id,x,y,kind")
    spec = 'table(path="a.csv", label="kind", columns=["y", "x"])'
    source = load(spec, tmp_path)
    assert source.name == spec
    first = inputs_of(source.train)
    assert torch.equal(first[:, 0], -first[:, 1])
    assert (first[:, 0] <= 0).all()
    assert source.preparation == "the numbers of the columns y, x, in this order"
    assert load('table(path="a.csv", label="kind", columns=["x"])', tmp_path).preparation.count(",") == 1


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (["1,Paris,a", "2,3,b"], {}, "the column 'y' of .* should hold numbers, not 'Paris' as in row 1"),
        (["1,1,a", "2,,b"], {}, r"the column 'y' of '.*a\.csv' is empty in row 2"),
        (["1,1,a", "nan,2,b"], {}, "the column 'x' of .* holds nan in row 2"),
        (["1,1,a", "2,inf,b"], {}, "the column 'y' of .* holds inf in row 2"),
        (["1,1,a", "2,2,a"], {}, "the column 'label' of .* should hold 2 classes or more, not 1"),
        (["1,1,a", "2,2,b"], {"label": "lable"}, r"unknown column of .*: 'lable'; did you mean 'label'\?"),
        (["1,1,a", "2,2,b"], {"columns": ["x", "z"]}, "unknown column of .*: 'z'"),
        (["1,1,a", "2,2,b"], {"columns": ["x", "label"]}, "the label 'label' is no column to learn from"),
        (["1,1,0.5", "2,2,b"], {}, None),
    ],
)
def test_refuses(tmp_path: Path, rows: list[str], options: dict[str, object], message: str | None) -> None:
    write(tmp_path / "a.csv", rows)
    if message is None:  # in a CSV a label is text
        assert from_table(str(tmp_path / "a.csv")).task.names == ("0.5", "b")
        return
    with pytest.raises(LimbeckError, match=message):
        from_table(str(tmp_path / "a.csv"), **options)  # type: ignore[arg-type]


def test_refuses_a_table_of_labels(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", ["a", "b"], "label")
    with pytest.raises(LimbeckError, match=r"a\.csv' has no column besides the label 'label'"):
        from_table(str(tmp_path / "a.csv"))


def test_a_bad_row_is_counted_over_batches(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [f"{i},{i},{i % 2}" for i in range(2500)] + ["1,x,1"])
    with pytest.raises(LimbeckError, match="not 'x' as in row 2501"):
        from_table(str(tmp_path / "a.csv"))


def test_refuses_data_dir_where_nothing_is_read(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="data set 'iris' has no use for data_dir"):
        load("iris", tmp_path)
