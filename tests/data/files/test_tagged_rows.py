"""Sentences of files with a sentence a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.data.files.rows import read
from limbeck.data.files.tagged_rows import sentences, tags_column
from limbeck.errors import LimbeckError
from tagged_files import write_jsonl


def found(
    folder: Path, rows: list[tuple[Any, Any]], names: tuple[str, ...] = (), *, tagged: bool = True
) -> list[Any]:
    file = write_jsonl(folder / "train.jsonl", rows)
    return [
        (each.words, each.tags, each.row)
        for each in sentences(read(str(file), None)["train"], "tokens", None, names, tagged=tagged)
    ]


def test_tags_are_names_or_numbers_of_names(tmp_path: Path) -> None:
    assert found(tmp_path / "a", [(["Ada", "went"], ["B-PER", "O"]), (["then"], [None])]) == [
        (("Ada", "went"), ("B-PER", "O"), 1),
        (("then",), (None,), 2),
    ]
    names = ("O", "B-PER")
    assert found(tmp_path / "b", [(["Ada", "went", "x"], [1, 0, -100])], names) == [
        (("Ada", "went", "x"), ("B-PER", "O", None), 1)
    ]


def test_a_sentence_may_have_no_tags(tmp_path: Path) -> None:
    rows = [(["Ada"], ["B-PER"]), (["then"], None)]
    assert [each[1] for each in found(tmp_path, rows)] == [("B-PER",), None]


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        ([(["a", "b"], ["O"])], (), "row 1 of .* has 2 words and 1 tags; each word has one tag"),
        ([(["a"], ["O"]), ([], [])], (), "row 2 of .* holds no words; leave out sentences that are empty"),
        ([(["a", " "], ["O", "O"])], (), "word 2 of row 1 of .* is empty"),
        ([("a b", ["O", "O"])], (), "'tokens' holds 'a b' in row 1 of .*, and it should be a list of words"),
        ([(["a"], "O")], (), "'ner_tags' holds 'O' in row 1 of .*, and it should be a list of tags"),
        (
            [(["a"], [3])],
            (),
            "holds numbers, such as 3 of word 1 of row 1 .*, and nothing says what they mean",
        ),
        ([(["a"], [2])], ("O", "X"), "the tag 2 of word 1 of row 1 .* is out of range: .* 0 to 1"),
        ([(["a"], [1.5])], ("O", "X"), "the tag 1.5 of word 1 of row 1 .* should be a text, or a number"),
        ([(["a"], None)], (), "has no column 'ner_tags' or 'tags' but 'tokens'; name that of the tags"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(
    rows: list[tuple[Any, Any]], names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=message):
        found(tmp_path, rows, names)


def test_the_column_of_the_tags() -> None:
    assert tags_column(["tokens", "tags"], None, "x", tagged=True) == "tags"
    assert tags_column(["tokens", "pos"], "pos", "x", tagged=True) == "pos"
    assert tags_column(["tokens"], None, "x", tagged=False) is None
    with pytest.raises(
        LimbeckError, match="x has the columns 'ner_tags' and 'tags'; say which, tags='ner_tags'"
    ):
        tags_column(["ner_tags", "tags"], None, "x", tagged=True)
    with pytest.raises(LimbeckError, match="unknown column of x: 'pos_tag'"):
        tags_column(["tokens", "pos_tags"], "pos_tag", "x", tagged=True)
