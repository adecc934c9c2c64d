"""CoNLL files: sentences, and what is wrong with a file by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.data.files.conll import sentences
from limbeck.errors import LimbeckError

TEXT = """-DOCSTART- -X- O O

EU NNP B-NP B-ORG
rejects  VBZ\tB-VP O

-DOCSTART- -X- O O

Peter NNP B-NP B-PER
10\N{NO-BREAK SPACE}000 CD I-NP O
"""


def write(folder: Path, text: str, name: str = "train.conll") -> Path:
    (folder / name).write_text(text)
    return folder / name


def read(file: Path, column: int = -1, *, tagged: bool = True) -> list[tuple[tuple[str, ...], object, int]]:
    return [(each.words, each.tags, each.line) for each in sentences([file], column, tagged=tagged)]


def test_sentences_stand_between_empty_lines(tmp_path: Path) -> None:
    assert read(write(tmp_path, TEXT)) == [
        (("EU", "rejects"), ("B-ORG", "O"), 3),
        (("Peter", "10\N{NO-BREAK SPACE}000"), ("B-PER", "O"), 8),
    ]


def test_the_column_of_the_tags_is_counted_from_either_end(tmp_path: Path) -> None:
    file = write(tmp_path, TEXT)
    assert read(file, 1)[0][1] == read(file, -3)[0][1] == ("NNP", "VBZ")


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_a_word(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_bytes(
        "\N{ZERO WIDTH NO-BREAK SPACE}Ada B-PER\r\n\r\nOslo B-LOC".encode()
    )
    assert [each[0] for each in read(tmp_path / "train.conll")] == [("Ada",), ("Oslo",)]


def test_several_files_follow_each_other_and_keep_their_lines(tmp_path: Path) -> None:
    files = [
        write(tmp_path, "Ada B-PER\n", "train-0.conll"),
        write(tmp_path, "\nOslo B-LOC\n", "train-1.conll"),
    ]
    first, second = sentences(files, -1, tagged=True)
    assert first.place(0) == f"line 1 of {str(files[0])!r}"
    assert second.place(0) == f"line 2 of {str(files[1])!r}"


def test_a_file_of_words_alone_has_no_tags(tmp_path: Path) -> None:
    file = write(tmp_path, "Ada\nwent\n\nOslo\n")
    assert read(file, tagged=False) == [(("Ada", "went"), None, 1), (("Oslo",), None, 4)]
    with pytest.raises(LimbeckError, match="has one column, of words, and no tags; give the names"):
        read(file)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (
            "Ada B-PER\nwent\n",
            -1,
            "line 2 of .* has 1 column, and the lines before it have 2; each word has one",
        ),
        ("Ada B-PER\n\nNew York B-LOC\n", -1, "line 3 of .* has 3 columns, and the lines before it have 2"),
        ("Ada B-PER\n", 2, "have 2 columns, and column=2 is none of the tags; .* tags may be in 1 to 1"),
        ("Ada B-PER\n", 0, "column=0 is none of the tags; the word is column 0"),
        ("Ada B-PER\n", -2, "column=-2 is none of the tags"),
        ("\n-DOCSTART- O\n\n", -1, "holds no words"),
        ("", -1, "holds no words"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, column: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        read(write(tmp_path, text), column)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_bytes("Zoë B-PER\n".encode("latin-1"))
    with pytest.raises(LimbeckError, match="is no text in UTF-8"):
        read(tmp_path / "train.conll")
