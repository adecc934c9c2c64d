from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.training import checkpoints


def state() -> dict[str, Any]:
    return {
        "root": {"weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(7)},
        "loop": 1,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "best": None,
    }


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"
    checkpoints.save(path, state())
    found = checkpoints.load(path)
    assert torch.equal(found["root"]["weight"], torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]))
    assert int(found["root"]["count"]) == 7
    assert found["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert torch.equal(found["optimizer"]["state"][0]["momentum_buffer"], torch.ones(3))
    assert (found["loop"], found["best"]) == (1, None)


def test_a_save_that_fails_leaves_the_old_checkpoint_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"loop": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoints.save(path, {"loop": 2, "broken": lambda: None})
    assert checkpoints.load(path)["loop"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_checkpoint_is_whole_until_the_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"loop": 1})
    found: list[int] = []
    real = os.fsync

    def synced(descriptor: int) -> None:
        found.append(checkpoints.load(path)["loop"])
        real(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    checkpoints.save(path, {"loop": 2})
    assert found == [1], "the new content is on the disk before it takes the old one's name"
    assert checkpoints.load(path)["loop"] == 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_file_is_refused_by_name(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save(path, state())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(LimbeckError, match=r"last\.pt' .*damaged"):
        checkpoints.load(path)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_bit_that_has_changed_is_found(tmp_path: Path, place: float) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"root": {"weight": torch.zeros(10_000)}})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    with pytest.raises(LimbeckError, match=r"last\.pt' cannot be read: it is damaged"):
        checkpoints.load(path)


STATE: dict[str, Any] = {"root": {}, "lines": 0, "choices": {}, "loop": 0, "optimizer": None}


@pytest.mark.parametrize(
    ("key", "value"), [("root", [1]), ("lines", "x"), ("choices", None), ("loop", "x"), ("optimizer", 3)]
)
def test_a_file_of_something_else_is_refused_by_what_is_wrong(key: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save(path, STATE)
    assert checkpoints.load_last(path) == ({"format": checkpoints.FORMAT, **STATE}, None)
    for state in ({**STATE, key: value}, {name: each for name, each in STATE.items() if name != key}):
        checkpoints.save(path, state)
        with pytest.raises(LimbeckError, match=rf"is no checkpoint of a training: its '{key}' is missing"):
            checkpoints.load_last(path)


def test_the_one_before_is_kept_and_taken_where_the_last_is_torn_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    previous = checkpoints.before(path)
    for number in range(3):
        assert checkpoints.there(path) == (number > 0)
        checkpoints.save(path, {**STATE, "loop": number}, keep=previous)
    assert (checkpoints.load(path)["loop"], checkpoints.load(previous)["loop"]) == (2, 1)
    assert checkpoints.load_last(path)[0]["loop"] == 2
    path.write_bytes(path.read_bytes()[:-50])
    state, note = checkpoints.load_last(path)
    assert state["loop"] == 1
    assert note == f"{str(path)!r} is damaged, so training goes on from the one before it, previous.pt"
    path.unlink()
    assert checkpoints.there(path)
    assert checkpoints.load_last(path)[1] == note.replace("damaged", "missing")
    previous.write_bytes(b"")
    with pytest.raises(LimbeckError, match=r"last\.pt' cannot be read"):
        checkpoints.load_last(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "run"),)

    path = tmp_path / "last.pt"
    torch.save({"format": 2, "root": Evil()}, path)
    with pytest.raises(LimbeckError, match="a pickle can run code, so it was left unread"):
        checkpoints.load(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"root": {}}, "is no checkpoint of a training"),
        ([1, 2], "is no checkpoint of a training"),
        ({"format": 1}, "has format 1; this version reads 4"),
    ],
)
def test_other_files_of_torch_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(LimbeckError, match=message):
        checkpoints.load(tmp_path / "last.pt")
