"""Runs as limbeck writes them, with figures that can be followed by hand; and how to read a page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from html import unescape
from typing import Any

from limbeck.runs.result import BaselineResult, DataResult, Metrics, Result, StudentResult, TeacherResult
from limbeck.studies.compare import Comparison
from limbeck.studies.contender import Contender


def result(seed: int = 0, top1: float = 0.85, **changes: Any) -> Result:
    return Result(
        objective="0.1*ce + 0.9*kd(temperature=4)",
        arguments={},
        seed=seed,
        selection="last",
        task={"name": "classification", "names": tuple(map(str, range(10)))},
        student=StudentResult(model="cnn(channels=[4, 8])", parameters=650),
        teachers={"teacher": teacher()},
        metrics=Metrics(
            validation={"top1": 0.9, "nll": 0.4, "ece": 0.03, "top5": 0.99},
            test={"top1": top1, "nll": 0.5, "ece": 0.04, "top5": 0.98},
        ),
        agreement=0.9,
        seconds=12.34,
        data=data(),
    ).model_copy(update=changes)


def teacher(top1: float = 0.996, **changes: Any) -> TeacherResult:
    made = TeacherResult(model="cnn(channels=[32, 64])", parameters=26000, metrics={"top1": top1})
    return made.model_copy(update=changes)


def alone(seeds: int = 1, **changes: Any) -> BaselineResult:
    """The student alone, 8 points below `result`; of several seeds the others are 7 and 9 points below."""
    test = {"top1": 0.77, "nll": 0.75, "ece": 0.02}
    made = BaselineResult(
        place="../student-alone",
        objective="ce",
        parameters=650,
        steps=360,
        metrics=Metrics(validation=None, test=test),
        metric="top1",
        split="test",
        values={seed: (0.85, 0.77 + ((seed + 1) % 3 - 1) / 100) for seed in range(seeds)},
        difference=0.08,
        interval=None if seeds == 1 else (0.055, 0.105),
        verdict="better" if seeds >= 5 else None,
    )
    return made.model_copy(update=changes)


def data(**changes: Any) -> DataResult:
    return DataResult(
        name="digits(labeled=100)",
        fingerprint="f",
        train=1077,
        labeled=100,
        validation=360,
        test=360,
        outputs=10,
        measured={"validation": 360, "test": 360},
    ).model_copy(update=changes)


def history(top1: float = 0.85, epochs: int = 40, phases: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for phase in (*phases, "training"):
        for epoch in range(1, epochs + 1):
            loss = 2.3 * math.exp(-epoch / 8)
            line: dict[str, Any] = {
                "phase": phase,
                "epoch": epoch,
                "step": 9 * epoch,
                "seconds": 0.3,
                "lr": 0.05,
                "terms": {"total": loss, "ce": 0.2 * loss, "kd": 0.8 * loss},
            }
            if phase == "training":
                accuracy = top1 * (1 - math.exp(-epoch / 5))
                line["validation"] = {"top1": accuracy, "nll": 0.4 + loss / 2}
            lines.append(line)
    return lines


def contenders(seeds: int = 5) -> list[Contender]:
    """Test accuracy by seed: teacher 99.6 %; alone 77, 78, ... %; distilled 7, 8, 9, 7, 8 points above."""
    made = []
    for name, parameters, reach in (
        ("teacher", 26000, lambda seed: 0.996),
        ("student alone", 650, lambda seed: 0.77 + seed / 100),
        ("student distilled", 650, lambda seed: 0.84 + seed / 100 + seed % 3 / 100),
    ):
        results = []
        for seed in range(seeds):
            results.append(
                result(
                    seed,
                    reach(seed),
                    agreement=None if name == "teacher" else reach(seed),
                    student=StudentResult(model="cnn(channels=[4, 8])", parameters=parameters),
                )
            )
        histories = [history(reach(seed)) for seed in range(seeds)]
        made.append(Contender(name, results, histories, None if name == "teacher" else 0.0123))
    return made


def comparison(
    baseline: str | None = None, members: Sequence[Contender] | None = None, **changes: Any
) -> Comparison:
    """The contenders above, or others, compared with one of them."""
    return Comparison(tuple(contenders() if members is None else members), baseline, **changes)


def text_of(html: str) -> str:
    """What a reader sees, without the scripts."""
    shown = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", shown))).replace("\N{NO-BREAK SPACE}", " ")


def figures(html: str) -> list[dict[str, Any]]:
    return [
        json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', html, re.S)
    ]


def charts(html: str) -> list[str]:
    return re.findall(r"<h3>(.*?)</h3>", html)
