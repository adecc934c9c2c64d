"""Feeds the readers of limbeck with bytes that a coverage-guided fuzzer makes up.

    python tests/fuzzing/fuzz.py [TARGET ...] [--seconds N] [--corpus FOLDER]

needs atheris. A reader may read a file or refuse it with a LimbeckError. Whatever else it raises is a
finding, and what it was raised by is left in FOLDER as `TARGET-crash-...`. Prints a line of JSON for each
target. The corpus begins with the few files in `SEEDS`; what a run adds to it stays in FOLDER.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PLACE = Path(tempfile.gettempdir()) / "limbeck-fuzzed"


def notation(content: bytes) -> None:
    from limbeck.notation import parse

    text = content.decode("utf-8", "surrogateescape")
    found = parse(text)
    assert str(parse(str(found))) == str(found), text


def views(content: bytes) -> None:
    from limbeck.data.views import parse

    str(parse(content.decode("utf-8", "replace")))


def config(content: bytes) -> None:
    from limbeck.config import make_config

    make_config(_file(content, "config.yaml"))


def weights(content: bytes) -> None:
    from limbeck.models import load_state

    load_state(_file(content, "weights.pth"))


def safetensors(content: bytes) -> None:
    from limbeck.models import load_state
    from limbeck.runs.network_record import read_card

    file = _file(content, "student.safetensors")
    load_state(file)
    read_card(file)


def checkpoint(content: bytes) -> None:
    from limbeck.training.checkpoints import load

    load(_file(content, "last.pt"))


def cache(content: bytes) -> None:
    import numpy as np

    from limbeck.teachers.store import Store

    store = Store(_file(content, "cache.answers"), {"teacher": "a"}, 4)
    store.read(np.arange(3))


def idx(content: bytes) -> None:
    from limbeck.data.synthetic.idx import read_idx

    read_idx(_file(content, "images-idx3-ubyte"))


def answers(content: bytes) -> None:
    from limbeck.teachers.files.reading import read_answers

    read_answers(_file(content, "answers.jsonl"), ("cat", "dog"))


def result(content: bytes) -> None:
    from limbeck.runs.result import Result

    Result.read(_file(content, "result.json"))


def history(content: bytes) -> None:
    from limbeck.training.history import read_history

    read_history(_file(content, "metrics.jsonl"))


def _file(content: bytes, name: str) -> Path:
    path = PLACE / name
    path.write_bytes(content)
    return path


def _of_torch(value: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _of_safetensors() -> bytes:
    import torch
    from safetensors.torch import save

    return save({"a": torch.zeros(2)}, {"limbeck": "{}"})


SEEDS: dict[Callable[[bytes], None], Callable[[], list[bytes]]] = {
    notation: lambda: [b'0.1*ce + mgd(0.9*kd(temperature=4), scheme="stable")', b"a(b=[1, -2.5e3, true])"],
    views: lambda: [b"crop(padding=4, flip=true) + cutout(size=16)"],
    config: lambda: [b"student: lenet\ntraining: {epochs: 7, optimizer: {name: adamw, lr: 5e-4}}\n"],
    weights: lambda: [_of_torch({"model": {}}), _of_torch({"epoch": 3})],
    safetensors: lambda: [_of_safetensors()],
    checkpoint: lambda: [_of_torch({"format": 4, "root": {}})],
    cache: lambda: [
        json.dumps({"key": {"format": 2, "width": 4, "teacher": "a"}, "about": {}, "probe": []})
        .encode()
        .ljust(4096)
        + bytes(36)
    ],
    idx: lambda: [b"\0\0\x08\x02\0\0\0\x02\0\0\0\x01ab"],
    answers: lambda: [b'{"id": 1, "label": "cat"}\n{"id": 2, "probabilities": {"cat": 0.2, "dog": 0.8}}\n'],
    result: lambda: [b'{"version": 1, "objective": "ce"}', b'{"objective": "ce", "metrics": {}}'],
    history: lambda: [b'{"phase": "training", "epoch": 1, "terms": {"ce": 0.5}}\n{"ep'],
}
"""The readers, and the files that each begins with."""
TARGETS = {target.__name__: target for target in SEEDS}


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Runs one target, and ends the process."""
    import atheris

    from limbeck.errors import LimbeckError

    target = TARGETS[name]
    PLACE.mkdir(exist_ok=True)

    def read_or_refused(content: bytes) -> None:
        with warnings.catch_warnings(), suppress(LimbeckError):
            warnings.simplefilter("ignore")
            target(content)

    with atheris.instrument_imports(include=["limbeck"]):
        for seed in SEEDS[target]():
            read_or_refused(seed)  # which imports what it reads with
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]()):
        (folder / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=8192", "-rss_limit_mb=8192", "-print_final_stats=1"]
    crashes = f"-artifact_prefix={corpus}/{name}-"
    atheris.Setup([sys.argv[0], *limits, crashes, str(folder)], read_or_refused)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzzes the readers of limbeck.")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--corpus", type=Path, default=Path(".make/fuzz"))
    parser.add_argument("--here", action="store_true", help="run the one target in this process")
    asked = parser.parse_args()
    if asked.here:
        fuzz(asked.targets[0], asked.seconds, asked.corpus)
        return
    found = []
    for name in asked.targets or TARGETS:
        script = [sys.executable, __file__, name, "--here"]
        done = subprocess.run(
            [*script, "--seconds", str(asked.seconds), "--corpus", str(asked.corpus)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        executed = re.search(r"number_of_executed_units: *(\d+)", done.stdout)
        crash = re.search(r"=== Uncaught Python exception: ===\n(.*)", done.stdout)
        line = {
            "target": name,
            "seconds": asked.seconds,
            "executions": int(executed[1]) if executed else None,
            "finding": crash[1] if crash else None if done.returncode == 0 else done.stdout[-300:],
        }
        found.append(line)
        print(json.dumps(line), flush=True)
    sys.exit(any(line["finding"] for line in found))


if __name__ == "__main__":
    main()
