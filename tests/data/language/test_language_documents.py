"""Documents of files: their forms, their splits, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from language_models import stories, write_rows, write_stories
from limbeck.data.language.documents import Columns, documents
from limbeck.data.language.forms import Chat, Exchange, Text
from limbeck.errors import LimbeckError

EXCHANGE = {"prompt": "Who?", "response": "Tim."}
CHAT: dict[str, list[dict[str, str]]] = {
    "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Tim."}]
}


def read(path: Path, separator: str | None = None, **columns: Any) -> dict[str, list[Any]]:
    return documents(str(path), None, Columns(**columns), separator)


def test_a_file_of_stories_is_parted_and_a_tenth_is_held_out(tmp_path: Path) -> None:
    found = read(write_stories(tmp_path), "\n\n")
    assert {split: len(some) for split, some in found.items()}.keys() == {"train", "test", "validation"}
    assert {each.text for some in found.values() for each in some} == {*stories(60)}
    assert all(each.ends for some in found.values() for each in some)
    assert not {each.text for each in found["train"]} & {each.text for each in found["test"]}
    assert read(tmp_path / "stories.txt", "\n\n") == found


def test_one_long_text_is_cut_at_a_line(tmp_path: Path) -> None:
    file, text = tmp_path / "book.txt", "\n".join(stories(50)) + "\n"
    file.write_text(text)
    found = read(file)
    parts = [each for split in ("train", "validation", "test") for each in found[split]]
    assert "".join(each.text for each in parts) == text
    assert [each.ends for each in parts] == [False, False, False]  # no end would be learned
    assert all(each.text.endswith(".\n") for each in parts)
    assert len(found["test"][0].text) == pytest.approx(0.1 * len(text), rel=0.2)
    assert len(found["validation"][0].text) == pytest.approx(0.09 * len(text), rel=0.2)


def test_a_directory_may_hold_the_splits_or_a_document_a_file(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text(f"The {name}.")
    assert read(tmp_path) == {name: [Text(f"The {name}.")] for name in ("train", "validation", "test")}
    many = tmp_path / "many"
    many.mkdir()
    for number in range(25):
        (many / f"{number:02}.txt").write_text(f"Story {number}.")
    found = read(many)
    assert sorted(len(some) for some in found.values()) == [2, 2, 21]


def test_rows_are_exchanges_chats_or_texts(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "exchange": EXCHANGE,
        "completion": {"prompt": "Who?", "completion": "Tim."},
        "chat": CHAT,
        "text": {"text": "Tim saw."},
        "strange": {"story": "Tim saw."},
    }
    files = {name: write_rows(tmp_path / f"{name}.jsonl", [row] * 30) for name, row in rows.items()}
    assert read(files["exchange"])["train"][0] == Exchange("Who?", "Tim.")
    assert read(files["completion"])["train"][0] == Exchange("Who?", "Tim.")
    assert read(files["chat"])["train"][0] == Chat(tuple(CHAT["messages"]))
    assert read(files["text"])["train"][0] == Text("Tim saw.")
    assert read(files["strange"], text="story")["train"][0] == Text("Tim saw.")
    with pytest.raises(LimbeckError, match="has the columns story; say which of them to read"):
        read(files["strange"])
    with pytest.raises(LimbeckError, match=r"unknown column of .*'storey'; did you mean 'story'"):
        read(files["strange"], text="storey")


def test_numbers_in_a_csv_are_texts(tmp_path: Path) -> None:
    file = tmp_path / "sums.csv"
    file.write_text("sum,result\n" + "".join(f"{number},{2 * number}\n" for number in range(40)))
    found = read(file, prompt="sum", response="result")
    assert {(each.prompt, each.response) for some in found.values() for each in some} == {
        (str(number), str(2 * number)) for number in range(40)
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**EXCHANGE, "prompt": " "}, "the column 'prompt' is empty in row 2 of"),
        ({**EXCHANGE, "response": None}, "the column 'response' is empty in row 2 of"),
    ],
)
def test_an_empty_part_is_refused(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        read(write_rows(tmp_path / "rows.jsonl", [EXCHANGE, row, EXCHANGE]))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "the messages in row 1 of .* should be a list of them"),
        ("hello", "the messages in row 1 of .* should be a list of them"),
        ([{"role": "user"}], "a message in row 1 of .* should have a role and a content"),
        ([{"role": "user", "content": " "}], "a message of the user is empty in row 1 of .*; fill it, or"),
        ([{"role": "assistant", "content": ""}], "a message of the assistant is empty in row 1 of"),
    ],
)
def test_messages_that_are_none_are_refused(messages: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        read(write_rows(tmp_path / "rows.jsonl", [{"messages": messages}]))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    file = write_stories(tmp_path)
    with pytest.raises(LimbeckError, match="there is no file"):
        documents("missing.txt", None, Columns(), None)
    with pytest.raises(LimbeckError, match="is plain text and has no columns; leave out 'text'"):
        read(file, text="text")
    with pytest.raises(LimbeckError, match="prompt and its response go together"):
        Columns(prompt="prompt")
    with pytest.raises(LimbeckError, match="a document is one of them"):
        Columns(text="text", messages="messages")
    (tmp_path / "latin.txt").write_bytes("größer".encode("latin-1"))
    with pytest.raises(LimbeckError, match=r"is no text in UTF-8: .* at byte 2"):
        read(tmp_path / "latin.txt")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(LimbeckError, match=r"'.*empty.txt' is empty"):
        read(tmp_path / "empty.txt")
    (tmp_path / "short.txt").write_text("a")
    with pytest.raises(LimbeckError, match="too short to hold out a part of it"):
        read(tmp_path / "short.txt")
    with pytest.raises(LimbeckError, match="a separator parts files of plain text"):
        read(write_rows(tmp_path / "rows.jsonl", [EXCHANGE]), "\n")
    with pytest.raises(LimbeckError, match="a separator has at least one character"):
        read(file, "")
    with pytest.raises(LimbeckError, match=r"the separator '@@@' is nowhere in '.*stories.txt'"):
        read(file, "@@@")
