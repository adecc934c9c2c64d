"""Kills runs with SIGKILL at random moments, resumes them, and compares them with undisturbed ones.

    PYTHONPATH=src:tests python tests/faults/killing.py FOLDER --method kd --kills 25 --seed 0

prints one line of JSON: how many kills there were, in what, what differs in the end, and how many seconds
of a processor a resumption cost. A run is killed again and again until it is over, then the next one is,
until there were as many kills as asked for.

A moment is before or after a step, before a line of the history or a system call below FOLDER, or in the
middle of a checkpoint or of answers for the cache, which are left half-written. First the kind is drawn and
then the moment, so that phases, edges of epochs and files in mid-write are all met.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import limbeck
from limbeck.models.weights import write_checkpoint
from limbeck.runs import Run
from limbeck.teachers.store import Store
from limbeck.training import checkpoints
from limbeck.training.history import History
from limbeck.training.step import Step

torch.set_num_threads(1)

SETTINGS: dict[str, Any] = {
    "training.optimizer": {"momentum": 0.9, "lr": 0.05},
    "training.selection": "validation",
    "training.trackers": [],
    "training.precision": "fp32",
    "training.checkpoint_every": 1,
}


class Net(nn.Module):
    """Two stages with batch norm, and dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.stage2 = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.dropout, self.classifier = nn.Dropout(0.2), nn.Linear(2 * width, 10)

    def feature_points(self) -> dict[str, str | list[str]]:
        return {
            "stem": "stage1.0",
            "stages": ["stage1", "stage2"],
            "preactivations": ["stage1.1", "stage2.1"],
            "embedding": "classifier:input",
        }

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.classifier(self.dropout(self.stage2(self.stage1(x)).mean((2, 3))))
        return output


def teacher(width: int = 6) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return Net(width)


def images(objective: str, *teachers: str, **changes: Any) -> dict[str, Any]:
    """A run on images of digits."""
    named = {name: f"killing:teacher({6 + number})" for number, name in enumerate(teachers)}
    trusted = {f"teachers.{name}.trust": True for name in named} if named else {"teacher.trust": True}
    views = {"data.views": "crop(padding=1)", "training.views": 2}
    return {
        "student": "killing:Net(3)",
        "teacher": named or "killing:teacher()",
        "objective": objective,
        "epochs": 3,
        "batch_size": 100,
        **changes,
        "settings": {**SETTINGS, **views, **trusted},
    }


def texts(folder: Path, objective: str) -> dict[str, Any]:
    """A run of a language model."""
    from language_models import llama, write_stories

    return {
        "student": "gpt(dim=16, depth=1, heads=2)",
        "teacher": f"hf:{llama(folder / 'llama')}",
        "data": f'language(path="{write_stories(folder)}", separator="\\n\\n", block=16)',
        "objective": objective,
        "epochs": 3,
        "batch_size": 8,
        "settings": {**SETTINGS, "training.optimizer": {"name": "adamw", "lr": 0.01}, "teacher.trust": True},
    }


def alone(objective: str) -> dict[str, Any]:
    """A run without a teacher."""
    given = images(objective)
    settings = {name: value for name, value in given["settings"].items() if name != "teacher.trust"}
    return {**given, "teacher": None, "settings": settings}


METHODS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ce": lambda folder: alone("label_smoothing"),
    "kd, cached": lambda folder: images("0.1*ce + 0.9*kd(temperature=4)", cache_teacher="logits"),
    "icd": lambda folder: images("ce + icd"),
    "mgd(fitnet)": lambda folder: images("mgd(ce + fitnet, epochs=2)", epochs=2),
    "lwkd": lambda folder: alone("ce + lwkd(epochs=2, batch_size=20, images_per_class=60, bank_size=10)"),
    "crd": lambda folder: images("ce + 0.8*crd"),
    "on_policy": lambda folder: texts(folder, "on_policy(ce + kd(temperature=1), fraction=0.5, length=4)"),
    "minillm": lambda folder: texts(folder, "minillm(ce, length=4)"),
    "okd": lambda folder: texts(folder, "0.5*ce + 0.5*okd"),
    "dgkd, two teachers": lambda folder: images('dgkd(teachers=["small", "big"])', "small", "big"),
}
"""What is killed, by what the table calls it."""


class Moments:
    """Counts the moments of a process, and ends it at one of them.

    Args:
        folder: whose system calls count.
        last: the moment to die at, a kind and the number in it; None lets it live.
    """

    def __init__(self, folder: Path, last: tuple[str, int] | None) -> None:
        self.counts = Counter[str]()
        self._folder, self._last = str(folder), last

    def __call__(self, kind: str, torn: Callable[[], object] | None = None) -> None:
        """A moment; `torn` leaves half-written what is written at it."""
        self.counts[kind] += 1
        if self._last == (kind, self.counts[kind]):
            if torn is not None:
                torn()
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Counts from now on, for as long as the process lives."""
        step, add, put, save = Step.__call__, History.add, Store._put, write_checkpoint

        def stepped(*arguments: Any) -> None:
            self("a step")
            step(*arguments)
            self("a step")

        def added(*arguments: Any) -> None:
            self("a line of the history")
            add(*arguments)

        def filled(store: Store, content: bytes, place: int) -> None:
            self("an answer for the cache", lambda: put(store, content[: len(content) // 2], place))
            put(store, content, place)

        def saved(state: object, file: Path) -> None:
            save(state, file)
            self("a checkpoint", lambda: os.truncate(file, file.stat().st_size // 2))

        def called(event: str, arguments: tuple[Any, ...]) -> None:
            if event.startswith(("open", "os.")) and self._folder in str(arguments[:2]):
                self("a system call")

        Step.__call__ = stepped  # type: ignore[method-assign, assignment]
        History.add = added  # type: ignore[method-assign, assignment]
        Store._put = filled  # type: ignore[method-assign, assignment]
        checkpoints.write_checkpoint = saved  # type: ignore[attr-defined, assignment]
        sys.addaudithook(called)


def leg(
    folder: Path, given: dict[str, Any], last: tuple[str, int] | None
) -> tuple[dict[str, int] | None, float]:
    """A process that begins the run below a folder or goes on with it, until it dies at a moment.

    Returns: the moments by kind, if it has come to the end of the run, or None if it was killed; and the
        seconds that a processor worked on it, which others at work on the machine do not change.
    """
    read, write = os.pipe()
    child = os.fork()  # nothing has started a thread yet
    if child == 0:
        os.environ["LIMBECK_CACHE"] = str(folder / "cache")
        moments = Moments(folder, last)
        moments.watch()
        out = folder / "run"
        limbeck.distill(out=out, resume="auto", save_every=4, display=False, **given)
        os.write(write, json.dumps(moments.counts).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        counts = told.read()
    _, status, used = os.wait4(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if killed == bool(counts):
        raise SystemExit(f"the process ended with status {status} without having been killed")
    return None if killed else dict(json.loads(counts)), used.ru_utime + used.ru_stime


def record(run: Run, cached: bool) -> dict[str, Any]:
    """All of a run that must be alike, by what it is."""
    costs = {"seconds", "teacher_forwards"} if cached else {"seconds"}  # a cache keeps what was asked for
    result = json.loads((run.path / "result.json").read_text())
    last = torch.load(run.path / "checkpoints" / "last.pt", weights_only=True)
    return {
        "weights": (run.path / "student.safetensors").read_bytes(),
        "history": [{key: line[key] for key in line if key not in costs} for line in run.history],
        "result": {key: result[key] for key in result if key not in costs},
        "state": {name: tensor.numpy().tobytes() for name, tensor in last["root"].items()},
        "files": sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*")),
    }


def kill(folder: Path, method: str, kills: int, seed: int) -> dict[str, Any]:
    """Kills runs of a method, and says what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    given = METHODS[method](folder)
    limbeck.data.load("digits")
    for late in ("torch._dynamo", "scipy.stats"):  # imported once here, and not anew in every child
        import_module(late)
    draws = random.Random(f"{method} {seed}")
    told, calm = leg(folder / "calm", given, None)
    moments = told or {}
    cached = "cache_teacher" in given
    expected = record(Run(folder / "calm" / "run"), cached)
    kinds: Counter[str] = Counter()
    different: list[str] = []
    seconds, runs, survived = 0.0, 0, 0
    while sum(kinds.values()) < kills:
        place = folder / f"killed-{runs}"
        wanted = min(kills - sum(kinds.values()), 10)  # of one run
        died = 0
        for left in range(wanted, -1, -1):
            kind = draws.choice(sorted(moments))
            number = draws.randint(1, max(2, 2 * moments[kind] // (wanted + 1)))
            told, took = leg(place, given, (kind, number) if left else None)
            seconds += took
            if told is not None:
                break
            kinds[kind] += 1
            died += 1
        found = record(Run(place / "run"), cached)
        changed = [f"{name} of run {runs}" for name in expected if found[name] != expected[name]]
        different += changed
        survived += 0 if changed else died
        runs += 1
    made = sum(kinds.values())
    return {
        "method": method,
        "kills": made,
        "survived": survived,
        "runs": runs,
        "different": different,
        "in": dict(sorted(kinds.items())),
        "resume_seconds": round((seconds - runs * calm) / made, 3),
        "run_seconds": round(calm, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills runs at random moments.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(json.dumps(kill(asked.folder, asked.method, asked.kills, asked.seed)))


if __name__ == "__main__":
    sys.modules["killing"] = sys.modules["__main__"]  # the factories are found here
    main()
