"""What all tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Command

import limbeck
from limbeck import plugins
from limbeck.runs import Run
from limbeck.training import choices


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests keep nothing in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard, also where a shell has started the tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def one_precision() -> Iterator[None]:
    """Training computes in float32 on every processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choices, "multiplies_bfloat16", lambda: False)
        yield


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`limbeck`, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Installs a package for one test, whose one module is `strange`: (group, entry points, source)."""

    def install(group: str, points: str, source: str) -> None:
        (tmp_path / "strange.py").write_text(source)
        metadata = tmp_path / "strange-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{points}\n")
        monkeypatch.syspath_prepend(tmp_path)
        plugins.forget()

    yield install
    sys.modules.pop("strange", None)
    plugins.forget()


@pytest.fixture
def own_accelerate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For what sets accelerate's precision, which it does for the whole process."""
    state = pytest.importorskip("accelerate.state")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    yield
    state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run on the digits."""
    return limbeck.train(
        model="mlp(hidden=[16])",
        epochs=2,
        batch_size=50,
        settings={"training.trackers": []},
        display=False,
        out=tmp_path_factory.mktemp("runs") / "teacher",
    )
