from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from limbeck.errors import LimbeckError
from limbeck.runs.locking import LOCK, Lock
from run_locks import locked


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused = pytest.raises(
        LimbeckError, match=f"another process is writing to the run '{run}' at this moment"
    )
    with locked(run):
        with refused, locked(run):
            pass
        with locked(tmp_path / "other"):
            pass
    assert not list(run.iterdir()), "no file tells of it"


def test_who_removes_the_directory_takes_the_lock_away(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run) as first:
        assert first.held
        shutil.rmtree(run)
        assert not first.held
        with locked(run) as second:
            assert second.held
            with pytest.raises(LimbeckError, match="another process is writing to the run"):
                first.take()
        first.take()
        assert first.held
    assert not (run / LOCK).exists()


def test_a_lock_that_is_given_back_while_somebody_opens_it_is_taken_anew(tmp_path: Path) -> None:
    opened = os.open

    def slow(path: Path, *flags: int) -> int:
        found = opened(path, *flags)
        Path(path).unlink(missing_ok=True)  # by whoever gives it back
        monkeypatch.setattr(os, "open", opened)
        return found

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "open", slow)
        with locked(tmp_path) as lock:
            assert lock.held


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LimbeckError, match=r"file/run' cannot be written to: Not a directory;"):
        Lock(tmp_path / "file" / "run").take()


def test_a_lock_survives_no_dead_process(tmp_path: Path) -> None:
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path):
            os.write(told, b"locked")
            signal.pause()
    os.read(ready, 6)
    with pytest.raises(LimbeckError, match="another process"), locked(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with locked(tmp_path):
        pass


def test_a_lock_ends_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass
