from __future__ import annotations

from dataclasses import replace

import pytest

from limbeck import data
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs.matching import Match, UnmatchedError, match
from limbeck.runs.network_record import Card
from limbeck.tasks import Classification, Regression


def card(*names: str) -> Card:
    return Card(model="mlp", task=Classification(names).record(), input_shape=(4,), mean=None, std=None)


def source(*names: str) -> Source:
    return replace(data.load("iris"), task=Classification(names))


def matched(theirs: tuple[str, ...], ours: tuple[str, ...]) -> Match:
    return match(card(*theirs), source(*ours), "teacher", "runs/t")


def test_another_order_is_mapped_and_said() -> None:
    found = matched(("cat", "dog", "owl"), ("owl", "cat", "dog"))
    assert found.order == (2, 0, 1)
    assert found.note == (
        "the 3 outputs of the teacher 'runs/t' are matched by name with those of iris: their order differs"
    )


def test_more_outputs_than_the_data_has_are_cut() -> None:
    found = matched(("cat", "dog", "owl"), ("owl", "dog"))
    assert found.order == (2, 1)
    assert str(found.note).endswith("which has 2 of them; the others are left out")


def test_missing_names_are_listed() -> None:
    with pytest.raises(UnmatchedError) as error:
        matched(("cat", "dog"), ("cat", "fox"))
    said = "the teacher 'runs/t' has no output for 'fox' of iris; its outputs are 'cat', 'dog'"
    end = (
        ", and those of the data 'cat', 'fox'; give a teacher for this data, or name the data's outputs, "
        "names=[...]"
    )
    assert str(error.value) == said + end
    beside = error.value.beside("the student", ("cat", "emu"))
    assert str(beside) == f"{said}, those of the student 'cat', 'emu'{end}"


def test_names_that_differ_in_case_alone_are_no_match() -> None:
    with pytest.raises(
        UnmatchedError, match=r"no output for 'cat', 'fox' of iris, as they differ in case; its"
    ):
        matched(("Cat", "FOX"), ("cat", "fox"))


def test_numbers_as_text_are_ordered_by_folders() -> None:
    ours = tuple(map(str, range(12)))
    theirs = tuple(sorted(ours))
    assert matched(theirs, ours).order == tuple(theirs.index(name) for name in ours)
    assert matched(("0.0", "2.0", "1.0"), ("0", "1", "2")).order == (0, 2, 1)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (("a", "b"), ("a", "b")),
        (("0", "1"), ("cat", "dog")),
        (("cat", "dog"), ("0", "1")),
        (("0", "1", "2"), ("0", "1")),  # only the widths can be compared
    ],
)
def test_names_that_are_equal_or_say_nothing_change_nothing(
    theirs: tuple[str, ...], ours: tuple[str, ...]
) -> None:
    assert matched(theirs, ours) == Match()


def test_numbers_from_1_are_no_numbers_from_0() -> None:
    with pytest.raises(LimbeckError, match="no output for '0' of iris"):
        matched(("1", "2", "3"), ("0", "1", "2"))


def test_another_task_is_refused() -> None:
    other = data.load("linnerud")
    assert isinstance(other.task, Regression)
    with pytest.raises(LimbeckError, match="is for classification, and linnerud is for regression"):
        match(card("a", "b", "c"), other, "teacher", "runs/t")
