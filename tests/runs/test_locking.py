from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from limbeck.errors import LimbeckError
from limbeck.runs.locking import locked


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
    with locked(run):
        assert not list(run.iterdir()), "no file tells of it"


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
