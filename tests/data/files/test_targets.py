from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import pytest
import torch

from limbeck.data.files.rows import Rows
from limbeck.data.files.targets import Targets, target_reader
from limbeck.errors import LimbeckError


def read(
    columns: Mapping[str, Sequence[Any]],
    task: str,
    label: str | list[str],
    separator: str | None = None,
    names: Sequence[str] = (),
    test: Mapping[str, Sequence[Any]] | None = None,
    inputs: Sequence[str] = ("x",),
    features: datasets.Features | None = None,
) -> Targets:
    """The targets of a training split, and maybe of a test split, of two rows a batch."""
    given = {"train": columns, **({} if test is None else {"test": test})}
    splits = {
        split: Rows(f"'{split}.csv'", datasets.Dataset.from_dict(dict(values), features))
        for split, values in given.items()
    }
    reader = target_reader(task, label, separator, names)
    for split, rows in splits.items():
        for batch in rows.dataset.iter(2):
            reader.add(split, batch, rows, inputs)
    return reader.finish(splits)


def test_columns_of_zero_and_one() -> None:
    found = read({"a": ["1", "0", "", "1.0"], "b": ["True", "False", "0", " 1 "]}, "multilabel", ["b", "a"])
    assert found.names == ("b", "a")
    assert found.of["train"].dtype == torch.int64
    assert found.of["train"].tolist() == [[1, 1], [0, 0], [0, -100], [1, 1]]
    assert read({"a": [1, None, 0], "b": [True, False, None]}, "multilabel", ["a", "b"]).of[
        "train"
    ].tolist() == [[1, 1], [-100, 0], [0, -100]]


def test_lists_of_labels() -> None:
    lists = [["dog", "cat"], [], None, ["10", "9", "9"]]
    found = read({"tags": lists}, "multilabel", "tags", test={"tags": [["cat"]]})
    assert found.names == ("9", "10", "cat", "dog")
    assert found.of["train"].tolist() == [[0, 0, 1, 1], [0] * 4, [-100] * 4, [1, 1, 0, 0]]
    assert found.of["test"].tolist() == [[0, 0, 1, 0]]


def test_lists_of_declared_labels() -> None:
    features = datasets.Features({"tags": datasets.List(datasets.ClassLabel(names=["z", "y", "x"]))})
    found = read({"tags": [[2, 0], []]}, "multilabel", "tags", features=features)
    assert found.names == ("z", "y", "x")
    assert found.of["train"].tolist() == [[1, 0, 1], [0, 0, 0]]


def test_joined_labels() -> None:
    found = read({"tags": ["dog|cat", "", "|", " cat "]}, "multilabel", "tags", separator="|")
    assert found.names == ("cat", "dog")
    assert found.of["train"].tolist() == [[1, 1], [-100, -100], [0, 0], [1, 0]]


def test_values() -> None:
    found = read({"p": ["1.5", "", "-2e3"], "q": ["0", "7", " "]}, "regression", ["p", "q"], names=["P", "Q"])
    assert found.names == ("P", "Q")
    assert found.of["train"].dtype == torch.float32
    assert found.of["train"].nan_to_num(nan=-1).tolist() == [[1.5, 0], [-1, 7], [-2000, -1]]
    assert read({"p": [1, None]}, "regression", "p").of["train"].nan_to_num(nan=-1).tolist() == [[1], [-1]]


def test_names_decide_the_order_and_which_classes_there_are() -> None:
    found = read({"label": ["b", "a"]}, "classification", "label", names=["c", "b", "a"])
    assert (found.names, found.of["train"].tolist()) == (("c", "b", "a"), [1, 2])
    with pytest.raises(
        LimbeckError, match=r"class 'a' in row 2 of 'train.csv' is none that names=\[...\] has"
    ):
        read({"label": ["b", "a"]}, "classification", "label", names=["b", "c"])


def test_rows_without_a_label_column() -> None:
    bare = read({"x": ["1", "2", "3"]}, "classification", "label")
    assert (bare.names, bare.of["train"].tolist()) == ((), [-100] * 3)
    assert bare.notes == ("'train.csv' has no column 'label' and no labels",)
    named = read({"x": ["1"], "y": ["2"]}, "classification", "label", names=["a", "b"])
    assert (named.names, named.of["train"].tolist()) == (("a", "b"), [-100])
    mixed = read({"x": ["1"]}, "multilabel", "label", "|", ["a", "b"], test={"label": ["b"]})
    assert mixed.of["train"].tolist() == [[-100, -100]]
    assert mixed.of["test"].tolist() == [[0, 1]]
    assert read({"x": ["1"]}, "regression", "label", names=["p"]).of["train"].shape == (1, 0)
    with pytest.raises(LimbeckError, match=r"'train.csv' has no column 'label'; name"):
        read({"x": ["1"], "y": ["2"]}, "classification", "label")
    with pytest.raises(LimbeckError, match=r"unknown column of 'train.csv': 'kind'"):
        read({"x": ["1"]}, "classification", "kind")
    with pytest.raises(LimbeckError, match=r"'train.csv' has no labels, so the outputs have no names"):
        read({"x": ["1"]}, "multilabel", "label")


@pytest.mark.parametrize(
    ("columns", "task", "label", "separator", "message"),
    [
        (
            {"a": [0, 2]},
            "multilabel",
            ["a"],
            None,
            "column 'a' of 'train.csv' holds 2 in row 2; a label is 1",
        ),
        ({"a": ["0", "x"]}, "multilabel", ["a"], None, "holds 'x' in row 2"),
        ({"a": [0.0, 0.5]}, "multilabel", ["a"], None, "holds 0.5 in row 2"),
        (
            {"a": ["b", "c|d"]},
            "multilabel",
            "a",
            None,
            "holds 'b' in row 1 of .*, which is no list of labels",
        ),
        ({"a": [0, 1]}, "multilabel", "a", None, "no list of labels; give separator"),
        ({"a": [["b"], [""]]}, "multilabel", "a", None, "empty label in row 2"),
        ({"p": ["1", "nan"]}, "regression", "p", None, "column 'p' of 'train.csv' holds 'nan' in row 2"),
        ({"p": ["1", "2", "inf"]}, "regression", "p", None, "holds 'inf' in row 3"),
        (
            {"p": ["1", "2", "much"]},
            "regression",
            "p",
            None,
            "holds 'much' in row 3, which is no finite number",
        ),
        ({"p": [1.0, float("nan")]}, "regression", "p", None, "holds nan in row 2"),
        ({"p": [True, False]}, "regression", "p", None, "holds True in row 1"),
        ({"p": [1.7e9 + i for i in range(4)]}, "regression", "p", None, "differences in column 'p'"),
        (
            {"a": [0], "b": [1]},
            "classification",
            ["a", "b"],
            None,
            "one column of labels, not 2; .*multilabel",
        ),
        (
            {"a": [0]},
            "classification",
            "a",
            "|",
            "separator=.* parts the labels in one column of .* multilabel",
        ),
        ({"a": [0]}, "multilabel", ["a"], "|", "separator=.* leave it out otherwise"),
        ({"a": [0]}, "multilabel", ["a", "a"], None, "label should name different columns"),
        ({"a": [0]}, "multilabel", ["a", "d"], None, "unknown column of 'train.csv': 'd'"),
        ({"a": [0]}, "regresion", "a", None, "unknown task 'regresion'; did you mean 'regression'"),
    ],
)
def test_refuses(
    columns: dict[str, list[Any]], task: str, label: str | list[str], separator: str | None, message: str
) -> None:
    with pytest.raises(LimbeckError, match=message):
        read(columns, task, label, separator)


def test_refuses_a_label_that_the_train_split_has_not() -> None:
    with pytest.raises(LimbeckError, match=r"label 'd' in row 2 of 'test.csv' is none that 'train.csv' has"):
        read({"a": ["b", "c"]}, "multilabel", "a", "|", test={"a": ["b", "c|d"]})


def test_classes_are_no_values() -> None:
    features = datasets.Features({"label": datasets.ClassLabel(names=["a", "b"])})
    with pytest.raises(
        LimbeckError, match=r"column 'label' of 'train.csv' holds classes, and regression takes"
    ):
        read({"label": [0, 1]}, "regression", "label", features=features)


def test_labels_that_differ_in_case_are_said() -> None:
    found = read({"label": ["Cat", "cat", "dog"]}, "classification", "label")
    assert found.notes == ("the labels 'Cat' and 'cat' are two, and differ in case alone",)
