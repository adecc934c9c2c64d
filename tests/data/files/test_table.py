from __future__ import annotations

from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]
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
    write(tmp_path / "a.csv", [f"{3 * i},{-i},{i % 2}" for i in range(50)])
    source = load('table(path="a.csv")', tmp_path)
    assert source.name == 'table(path="a.csv")'
    assert source.validation is not None
    assert source.test is not None
    assert (len(source.train), len(source.validation), len(source.test)) == (32, 8, 10)
    assert sorted(rows_of(source).tolist()) == [[3 * i, -i, i % 2] for i in range(50)]


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


@pytest.mark.parametrize(
    ("name", "sizes", "features", "names"),
    [
        ("diabetes", (282, 70, 90), 10, ("progression",)),
        ("linnerud", (12, 4, 4), 3, ("Weight", "Waist", "Pulse")),
    ],
)
def test_bundled_sets_of_values(
    name: str, sizes: tuple[int, ...], features: int, names: tuple[str, ...]
) -> None:
    source = load(name)
    assert (source.name, source.kind, source.task.name, source.task.names) == (
        name,
        "table",
        "regression",
        names,
    )
    assert source.validation is not None
    assert source.test is not None
    assert (len(source.train), len(source.validation), len(source.test)) == sizes
    assert inputs_of(source.train).shape == (sizes[0], features)
    assert source.train.targets.dtype == torch.float32
    options = {"scaled": False} if name == "diabetes" else {}
    found = getattr(sklearn_datasets, f"load_{name}")(**options)
    whole = torch.cat(
        [torch.tensor(found.data), torch.tensor(found.target).view(len(found.data), -1)], 1
    ).float()
    ours = torch.cat(
        [
            torch.cat([inputs_of(part), part.targets], 1)
            for part in (source.train, source.validation, source.test)
        ]
    )
    assert sorted(ours.tolist()) == sorted(whole.tolist())
    train = inputs_of(source.train).double()
    assert source.mean == pytest.approx(train.mean(0).tolist())
    assert source.std == pytest.approx(train.std(0, correction=0).tolist())


@pytest.mark.parametrize(
    ("header", "number"),
    [("id,a,label", "{i}"), ("ID,a,label", "1{i:03}"), ("nr,a,label", "{j}")],
)
def test_a_column_that_numbers_the_rows_is_left_out(tmp_path: Path, header: str, number: str) -> None:
    rows = [f"{number.format(i=i, j=30 - i)},{i * i % 7},{'xyz'[i // 10]}" for i in range(30)]
    write(tmp_path / "a.csv", rows, header)
    source = from_table(str(tmp_path / "a.csv"))
    name = header.split(",")[0]
    assert source.preparation == "the numbers of the columns a, in this order"
    assert source.notes[0] == (
        f"the columns {name!r} number the rows and are left out; columns=[...] names those to learn from"
    )
    asked = from_table(str(tmp_path / "a.csv"), columns=[name, "a"])
    assert asked.preparation == f"the numbers of the columns {name}, a, in this order"


def test_rows_numbered_over_all_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [f"{i},{i % 3},{'ab'[i % 2]}" for i in range(40) if i % 4], "nr,a,label")
    write(tmp_path / "test.csv", [f"{i},{i % 3},{'ab'[i % 2]}" for i in range(0, 40, 4)], "nr,a,label")
    assert from_table(str(tmp_path)).preparation == "the numbers of the columns a, in this order"


def test_a_column_of_other_integers_is_learned_from(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [f"{2 * i},{i % 3},{'ab'[i % 2]}" for i in range(30)])
    source = from_table(str(tmp_path / "a.csv"))
    assert source.preparation == "the numbers of the columns x, y, in this order"
    write(tmp_path / "b.csv", [f"{i},{'ab'[i % 2]}" for i in range(30)], "x,label")
    source = from_table(str(tmp_path / "b.csv"))
    assert source.preparation == "the numbers of the columns x, in this order"
    assert source.notes == ("the columns 'x' number the rows, and there are no others to learn from",)


def test_the_index_of_a_data_frame_in_parquet(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [i % 5 for i in range(30)], "label": ["x", "y", "z"] * 10})
    table.sample(frac=1, random_state=0).to_parquet(tmp_path / "a.parquet")
    source = from_table(str(tmp_path / "a.parquet"))
    assert source.preparation == "the numbers of the columns a, in this order"
    assert source.notes == ("the columns '__index_level_0__' have no name of their own and are left out",)
    table.to_csv(tmp_path / "a.csv")
    source = from_table(str(tmp_path / "a.csv"))
    assert source.preparation == "the numbers of the columns a, in this order"
    assert source.notes == ("the columns 'Unnamed: 0' have no name of their own and are left out",)


def test_large_integers_keep_their_differences(tmp_path: Path) -> None:
    times = [1_700_000_000 + 7 * i for i in range(40)]
    write(tmp_path / "train.csv", [f"{time},{i % 3},{'ab'[i % 2]}" for i, time in enumerate(times)])
    write(tmp_path / "test.csv", ["1700000001,1,a"])
    source = from_table(str(tmp_path))
    middle = round(sum(times) / 40)
    mean = sum(times) / 40
    assert source.preparation == f"the numbers of the columns x minus {middle}, y, in this order"
    assert source.notes[0] == f"networks take x minus {middle}, as float32 would lose its differences"
    assert source.validation is not None
    seen = [
        value + middle
        for part in (source.train, source.validation)
        for value in inputs_of(part)[:, 0].tolist()
    ]
    assert sorted(seen) == times
    assert inputs_of(source.test)[0, 0] == 1_700_000_001 - middle
    assert abs(source.mean[0] - (mean - middle)) < 20


def test_copies_are_on_one_side(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [f"{i % 50},{i % 50 * 3},{'ab'[i % 2]}" for i in range(200)])
    source = from_table(str(tmp_path / "a.csv"))
    assert source.validation is not None
    assert source.test is not None
    assert (len(source.train), len(source.validation), len(source.test)) == (128, 32, 40)
    parts = [
        {tuple(row) for row in inputs_of(part).tolist()}
        for part in (source.train, source.validation, source.test)
    ]
    assert [len(part) for part in parts] == [32, 8, 10]
    assert len(set().union(*parts)) == 50


def test_a_comma_at_the_end_of_each_row_moves_no_names(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [f"{i * i},{i % 7},{'ab'[i % 2]}," for i in range(20)])
    source = from_table(str(tmp_path / "a.csv"))
    assert source.task.names == ("a", "b")
    assert sorted(rows_of(source).tolist()) == sorted([i * i, i % 7, i % 2] for i in range(20))
    write(tmp_path / "b.csv", [f"{i * i},{'ab'[i % 2]},," for i in range(20)], "x,label,")
    source = from_table(str(tmp_path / "b.csv"))
    assert sorted(rows_of(source).tolist()) == sorted([i * i, i % 2] for i in range(20))
    assert source.notes == ("the columns 'Unnamed: 2' have no name of their own and are left out",)
    write(tmp_path / "c.csv", [f"{i},{i},{'ab'[i % 2]},n" for i in range(20)])
    with pytest.raises(LimbeckError, match=r"row 1 of '.*c\.csv' has 4 fields, but the first line names 3"):
        from_table(str(tmp_path / "c.csv"))


def test_several_labels(tmp_path: Path) -> None:
    rows = [f"{i * i},{i % 2},{int(i % 3 == 0)},{i / 2 if i else ''}" for i in range(60)]
    write(tmp_path / "a.csv", rows, "x,odd,third,half")
    spec = 'table(path="a.csv", label=["odd", "third"], columns=["x"], task="multilabel")'
    source = load(spec, tmp_path)
    assert source.name == spec
    assert (source.task.name, source.task.names) == ("multilabel", ("odd", "third"))
    parts = [part for part in (source.train, source.validation, source.test) if part is not None]
    assert [len(part) for part in parts] == [39, 9, 12]
    for part in parts:
        i = inputs_of(part)[:, 0].sqrt().round().long()
        assert torch.equal(part.targets, torch.stack([i % 2, (i % 3 == 0).long()], 1))
    source = load('table(path="a.csv", label=["half"], task="regression")', tmp_path)
    assert source.task.names == ("half",)
    assert source.preparation == "the numbers of the columns x, odd, third, in this order"
    for part in filter(None, (source.train, source.validation, source.test)):
        half = inputs_of(part)[:, :1].sqrt() / 2
        assert torch.equal(part.targets.nan_to_num(0), half)
    assert source.train.targets.isnan().sum() == 1  # the row without a value is kept to train on
