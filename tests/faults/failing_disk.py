"""Trains on a disk of its own that fails after two epochs, and goes on when it is mended.

    unshare --user --map-root-user --mount python tests/faults/failing_disk.py DISK FATE

prints one line of JSON about what was found after the failure and in the end. The disk is a small tmpfs
mounted at DISK, which nobody else sees and which is gone with the process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import limbeck
from limbeck.errors import LimbeckError
from limbeck.training.history import History

torch.set_num_threads(1)


def fill(disk: Path) -> None:
    """Leaves no room on it."""
    with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True)


def read_only(disk: Path) -> None:
    """Puts the same disk over itself, read-only: the file of the lock is open to be written in the first."""
    mount("--bind", str(disk), str(disk))
    mount("-o", "remount,ro,bind", str(disk))


FATES: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "full": (fill, lambda disk: (disk / "ballast").unlink()),
    "read-only": (read_only, lambda disk: subprocess.run(["umount", str(disk)], check=True)),
    "removed": (lambda disk: shutil.rmtree(disk / "run"), lambda disk: None),
}
"""How a disk fails, and how it is mended."""


def train(out: Path, **more: Any) -> None:
    settings = {"training.trackers": [], "training.checkpoint_every": 1, "training.precision": "fp32"}
    limbeck.train(model="mlp", data="digits", epochs=4, out=out, settings=settings, **more)


def files(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def main(disk: Path, fate: str) -> None:
    break_, mend = FATES[fate]
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk))
    run, calm = disk / "run", disk / "calm"
    train(calm, display=False)
    epochs: list[int] = []
    add = History.add

    def added(history: History, line: Any) -> None:
        epochs.append(line["epoch"])
        add(history, line)
        if epochs == [1, 2]:
            break_(disk)

    History.add = added  # type: ignore[method-assign, assignment]
    error = None
    try:
        train(run)
    except LimbeckError as refused:
        error = str(refused)
    found: dict[str, Any] = {
        "epochs": list(epochs),
        "error": error,
        "broken": files(run),
        "lines": len((run / "metrics.jsonl").read_text().splitlines()),
    }
    if (run / "checkpoints" / "last.pt").exists():
        state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
        found["checkpoint"] = state["loop"], state.get("epoch")
    mend(disk)
    train(run, resume="auto", display=False)
    same = [(each / "student.safetensors").read_bytes() for each in (run, calm)]
    found |= {"resumed": epochs[len(found["epochs"]) :], "same": same[0] == same[1]}
    found["missing"] = sorted(set(files(calm)) - set(files(run)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
