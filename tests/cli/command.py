"""Runs the command line in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from limbeck.cli import main

torch.set_num_threads(1)

NETWORKS = """
import torch
from torch import nn


def make(classes=10, pixels=64):
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))


class Headless(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, x):
        return x.flatten(1).mean(1, keepdim=True) * self.scale


def no_network():
    return 3
"""
"""A user's own module."""


@dataclass(frozen=True)
class Answer:
    """What a command ended with."""

    code: Any
    out: str
    err: str


class Command:
    """Calls `limbeck` with arguments; the working directory is the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str | Path) -> Answer:
        self._monkeypatch.setattr("sys.argv", ["limbeck", *map(str, arguments)])
        self._capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        captured = self._capsys.readouterr()
        return Answer(code, captured.out, captured.err)


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with what is in them, folders with None."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }
