"""What the README shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from command import Command

import limbeck

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for line in README.replace("\\\n", " ").splitlines()
    if line.startswith("$ limbeck")
]


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


def test_there_are_three_doors() -> None:
    assert len(EXAMPLES) == 2
    names = [command.split()[1] for command in COMMANDS]
    assert names == ["train", "distill", "evaluate", "export", "compare"]


def test_the_losses(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = EXAMPLES[0]
    with torch.random.fork_rng():
        exec(compile(code, "README.md", "exec"), {})
    assert numbers(capsys.readouterr().out) == pytest.approx(numbers(shown), abs=1e-4)


def test_the_distiller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    limbeck.train(
        model="cnn(channels=[4, 8])",
        epochs=5,
        out="quickstart/teacher",
        settings={"training.trackers": []},
        display=False,
    )
    capsys.readouterr()
    code, shown = EXAMPLES[1]
    with torch.random.fork_rng():
        exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"[\d.e-]+", "#", line) for line in lines] == [
        re.sub(r"[\d.e-]+", "#", line) for line in shown.splitlines()
    ]
    totals = [numbers(line)[0] for line in lines]
    assert totals[-1] < 0.7 * totals[0]


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
        arguments = shlex.split(written.replace("runs/seed-*", "runs/student"), comments=True)
        done = command(*arguments[1:])
        assert done.code == 0, done.err
    assert "| ce + kd |" in done.out
