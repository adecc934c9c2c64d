from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import pytest

from limbeck.data.files.labels import class_ids, labels_in
from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError


def rows(values: Sequence[Any], name: str = "'a.csv'", classes: Sequence[str] | None = None) -> Rows:
    features = None if classes is None else datasets.Features({"y": datasets.ClassLabel(names=list(classes))})
    return Rows(name, datasets.Dataset.from_dict({"y": list(values)}, features))


def ids_of(
    train: Sequence[Any], test: Sequence[Any] | None = None, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    splits = {"train": rows(train, "'train.csv'", classes)}
    if test is not None:
        splits["test"] = rows(test, "'test.csv'", classes)
    labels: dict[str, list[str | None]] = {split: [] for split in splits}
    for split, part in splits.items():
        for batch in part.batches():
            labels[split] += labels_in(batch, "y", part, len(labels[split]))
    names, ids = class_ids(labels, splits, "y")
    return names, {split: tensor.tolist() for split, tensor in ids.items()}


@pytest.mark.parametrize(
    ("train", "names", "ids"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["b", "A", "a", "B "], ("A", "a", "B", "b"), [3, 0, 1, 2]),  # as dictionaries do, not as bytes
        ([10, 9, 10, 0], ("0", "9", "10"), [2, 1, 2, 0]),
        (["10", "9", "x"], ("9", "10", "x"), [1, 0, 2]),
        ([2.0, None, 1.0], ("1", "2"), [1, -100, 0]),  # how a file holds integers when one is missing
        ([True, False], ("False", "True"), [1, 0]),
        (["a", "", "b", "  "], ("a", "b"), [0, -100, 1, -100]),
    ],
)
def test_class_ids_follow_the_order_of_the_names(
    train: list[Any], names: tuple[str, ...], ids: list[int]
) -> None:
    assert ids_of(train) == (names, {"train": ids})


def test_declared_classes_keep_their_order_and_may_have_no_row() -> None:
    names, ids = ids_of([2, 0, -1], [1], classes=["z", "y", "x"])
    assert names == ("z", "y", "x")
    assert ids == {"train": [2, 0, -100], "test": [1]}


def test_other_splits_have_the_classes_of_the_train_split() -> None:
    assert ids_of(["a", "b", "c"], ["c", "", "a"])[1]["test"] == [2, -100, 0]
    with pytest.raises(LimbeckError, match=r"class 'd' in row 2 of 'test.csv' is none that 'train.csv' has"):
        ids_of(["a", "b"], ["a", "d"])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (["a", "a"], "the column 'y' of 'train.csv' should hold 2 classes or more, not 1"),
        ([None, None], "should hold 2 classes or more, not 0"),
        (
            [1.0, 0.5],
            r"column 'y' holds decimals, such as 0\.5 in row 2 of 'train\.csv'; choose the regression task",
        ),
        (
            [0, 1, -1],
            "the label -1 in row 3 of 'train.csv' is negative; leave the field empty where a row",
        ),
        ([2.0, None, -100.0], "the label -100 in row 3 of 'train.csv' is negative"),
        (["a", " -1"], "the label  -1 in row 2 of 'train.csv' is negative; .*, and give classes names, or"),
        (
            [[1, 2], [3]],
            r"column 'y' holds lists, such as \[1, 2\] in row 1 of 'train\.csv'; choose the multilabel task",
        ),
    ],
)
def test_refuses(train: list[Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        ids_of(train)


def test_rows_are_counted_from_the_start_of_the_file() -> None:
    with pytest.raises(LimbeckError, match="in row 1002 of"):
        ids_of([1.0] * 1001 + [0.5])


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(LimbeckError, match=r"unknown column of 'a.csv': 'label'; did you mean 'labels'\?"):
        labels_in({"labels": [1], "text": ["a"]}, "label", rows([1]), 0)


@pytest.mark.parametrize("value", [2, -2, 100])
def test_a_number_of_no_declared_class_is_refused(value: int) -> None:
    with pytest.raises(
        LimbeckError, match=rf"the label {value} in row 6 of 'a.csv' is no class id: with 2 .* 0 to 1"
    ):
        labels_in({"y": [0, value]}, "y", rows([0, 1], classes=["a", "b"]), 4)


def test_a_whole_number_has_one_name() -> None:
    assert ids_of(["1", "1.0", "0", "10.", "2.00"]) == (("0", "1", "2", "10"), {"train": [1, 1, 0, 3, 2]})
    assert ids_of(["1.0", "x"])[0] == ("1", "x")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (["12.5", "7", "8"], r"column 'y' holds decimals, such as 12\.5 in row 1 of .* task=\"regression\""),
        (["1e-3", "7"], "holds decimals, such as 1e-3 in row 1"),
        (["7", "1", "07"], "labels '07' and '7' in the column 'y' .* are one number written in two ways"),
        (["cat", "dog|cat"], r"several labels in one, such as 'dog\|cat' in row 2; .*, separator=\"\|\""),
        (["a;b", "b;c"], r"several labels in one, such as 'a;b' in row 1; .*, separator=\";\""),
    ],
)
def test_labels_for_another_task_are_refused(train: list[str], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        ids_of(train)


def test_separators_and_decimals_in_names_of_classes_are_no_other_task() -> None:
    assert ids_of(["a|b", "c|d"])[0] == ("a|b", "c|d")  # no part comes twice
    assert ids_of(["1.5", "v2"])[0] == ("1.5", "v2")
