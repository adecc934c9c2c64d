"""Compares two records value by value, and exits with 1 if they differ.

python tests/golden/compare.py old.json new.json
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import Record, Values

RENAMED: dict[str, str] = {
    r"evaluation\.networks\.(\w+)\.(accuracy|nll|calibration|confusion)(.*)": (
        r"evaluation.networks.\1.findings.\2\3"
    ),
    r"evaluation\.fidelity\.kl": "evaluation.agreement.distance",
    r"evaluation\.fidelity\.cka(.*)": r"evaluation.cka\1",
    r"evaluation\.fidelity(.*)": r"evaluation.agreement\1",
    r"evaluation\.mistakes(.*)": r"evaluation.agreement.examples\1",
    r"evaluation\.class_names\.(.*)": r"evaluation.task.names.\1",
    r"metrics\.(\d+)\.stage": r"metrics.\1.phase",
    r"result\.student\.top1": "result.metrics.test.top1",
    r"result\.teacher\.top1": "result.teachers.teacher.metrics.top1",
    r"result\.teacher\.(weights|recipe)": r"result.teacher.\1",
    r"result\.teacher\.(.*)": r"result.teachers.teacher.\1",
    r"result\.data\.classes": "result.data.outputs",
}
r"""Renamed keys: a regular expression that matches the whole old key, as the old record spells it, and the
new key, which may hold groups of it: `r"result\.(.*)\.top1": r"result.\1.accuracy"`."""

NEW: tuple[str, ...] = (
    "evaluation.task.name",
    *(
        "result." + name
        for name in ("task", "teachers", "steps", "samples_seen", "teacher_forwards", "notes")
    ),
    "evaluation.cka",
    *(
        f"evaluation.networks.{role}.{field}"
        for role in ("student", "teacher", "baseline")
        for field in ("metrics", "intervals")
    ),
)
"""Beginnings of keys that newer checkouts add, `"result.student.flops"`; B alone may have them."""

ADDED = r"metrics\.\d+\.teacher_forwards|(result|metrics)\..*\.macro_f1|result\.baseline"
"""Further keys that newer checkouts add, as a regular expression that matches the whole key."""

GONE: tuple[str, ...] = (
    "evaluation.data.classes",
    "evaluation.agreement.examples",
    "result.teacher",
    "result.teacher.weights",
    "result.teacher.recipe",
)
"""Keys, in the new spelling, that newer checkouts have no more; A alone may have them.

The examples were an empty list where there was no teacher, and the teacher was null. A teacher's weights and
recipe are digests of files, to whose metadata and config the task was added.
"""

TEXTS = r"evaluation\.agreement\.examples\.\d+\.(target|student|teacher)"
"""New keys of what was a number and is a text now."""

SPELLINGS = {
    "colour": "color",
    "standardis": "standardiz",
    "normalis": "normaliz",
    "optimis": "optimiz",
    "regularis": "regulariz",
    "analys": "analyz",
    "initialis": "initializ",
    "labelled": "labeled",  # and unlabelled
    "grey": "gray",
}
"""Old spellings in keys and strings, and the new ones that both records are read with."""


def respelled(value: Any) -> Any:
    """A string in the new spelling; anything else as it is."""
    if isinstance(value, str):
        for old, new in SPELLINGS.items():
            value = value.replace(old, new).replace(old.capitalize(), new.capitalize())
    return value


def renamed(key: str) -> str:
    """The new record's key for one of the old."""
    for old, new in RENAMED.items():
        if match := re.fullmatch(old, key):
            return match.expand(new)
    return key


def shown(key: str, value: Any) -> str:
    """A value as it is compared, to the last bit."""
    return str(value) if re.fullmatch(TEXTS, key) else repr(value)


def differences(old: Record, new: Record) -> Iterator[str]:
    """A line for each value that is not the same to the bit, or that one record lacks."""
    for name in {**old, **new}:
        if name not in old or name not in new:
            yield f"{name}: only in {'A' if name in old else 'B'}"
            continue
        ours: Values = {respelled(renamed(key)): respelled(value) for key, value in old[name].items()}
        theirs: Values = {respelled(key): respelled(value) for key, value in new[name].items()}
        for key in {**ours, **theirs}:
            if key not in theirs:
                if key not in GONE:
                    yield f"{name}: {key}: only in A: {ours[key]!r}"
            elif key not in ours:
                if not key.startswith(NEW) and not re.fullmatch(ADDED, key):
                    yield f"{name}: {key}: only in B: {theirs[key]!r}"
            elif shown(key, ours[key]) != shown(key, theirs[key]):
                yield f"{name}: {key}: {ours[key]!r} in A, {theirs[key]!r} in B"


def report(old: Record, new: Record) -> int:
    """Prints what differs; the exit status."""
    lines = list(differences(old, new))
    values = sum(map(len, old.values()))
    print("\n".join([*lines, f"{len(old)} runs, {values} values: {len(lines) or 'no'} differences"]))
    return 1 if lines else 0


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Compares two records value by value.")
    parser.add_argument("old", type=Path, metavar="A.json")
    parser.add_argument("new", type=Path, metavar="B.json")
    given = parser.parse_args()
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (given.old, given.new))
    raise SystemExit(report(old, new))


if __name__ == "__main__":
    main()
