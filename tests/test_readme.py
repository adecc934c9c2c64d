"""What the README shows is what happens."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command

import limbeck

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for line in README.replace("\\\n", " ").splitlines()
    if line.startswith("$ limbeck")
]


def test_there_are_three_doors() -> None:
    assert len(SNIPPETS) == 2
    names = [command.split()[1] for command in COMMANDS]
    assert names == ["train", "distill", "evaluate", "export", "compare"]


def test_the_losses() -> None:
    given = {"student_logits": torch.tensor([[2.0, 0.0]]), "teacher_logits": torch.tensor([[0.0, 2.0]])}
    exec(compile(SNIPPETS[0], "README.md", "exec"), given)
    share = 1 / (1 + math.exp(-0.5))  # of the larger logit at temperature 4
    assert given["loss"].item() == pytest.approx(16 * (2 * share - 1) * 0.5, abs=1e-5)


def test_the_distiller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    limbeck.train(
        model="cnn(channels=[4, 8])",
        epochs=5,
        out="quickstart/teacher",
        settings={"training.trackers": []},
        display=False,
    )
    ended = {}
    for steps in (1, 150):
        given: dict[str, Any] = {}
        with torch.random.fork_rng():
            exec(compile(SNIPPETS[1].replace("range(150)", f"range({steps})"), "README.md", "exec"), given)
        ended[steps] = float(given["losses"].total.detach())
    assert ended[150] < 0.7 * ended[1]


def test_the_commands(command: Command) -> None:
    for written in COMMANDS[:2]:
        done = command(*shlex.split(written)[1:], "--epochs", "1", "--set", "training.trackers=[]")
        assert done.code == 0, done.err
    shown = README[README.index("ce + kd\n┏") :]
    shown = shown[: shown.index("```")]
    labels = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    metrics = [f"{label} on test" for label in ("top-1", "top-5", "macro F1", "NLL", "ECE")]
    assert labels == ["parameters", *metrics, "agreement"]
    beginnings = [
        line.partition(":")[0] for line in shown.splitlines() if line.startswith(("against", "the"))
    ]
    assert beginnings == ["against the student alone", "the student alone"]
    assert all(each in done.out for each in (*labels, *beginnings))
    for written in COMMANDS[2:]:
        arguments = shlex.split(written, comments=True)
        done = command(*arguments[1:])
        assert done.code == 0, done.err
    assert "Comparison by test top-1" in done.out
