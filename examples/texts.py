"""Distills a classifier of texts: which package of Python's standard library a docstring is from.

A large network learns from all labels. The small one has ten labels a package, and the large one's answers
for all other docstrings. The texts are read from the library's own files; nothing is downloaded.
"""

from __future__ import annotations

import ast
import csv
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

import limbeck
from limbeck.data import encode

PACKAGES = ("asyncio", "email", "importlib", "logging", "multiprocessing", "tkinter", "unittest", "xml")
LIBRARY = Path(random.__file__).parent


def docstrings(package: str) -> list[str]:
    """Those of a package's classes and functions that are long enough to tell something."""
    found, documented = set(), ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for file in (LIBRARY / package).rglob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        found |= {ast.get_docstring(node) or "" for node in nodes if isinstance(node, documented)}
    return sorted(text for text in found if len(text) > 40)


def written(folder: Path, labeled: int) -> str:
    """Writes texts to learn from, to validate and to test on, and says how limbeck reads them."""
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    for package in PACKAGES:
        random.Random(0).shuffle(texts := docstrings(package))
        rows["test"] += [(text, package) for text in texts[0::5]]
        rows["validation"] += [(text, package) for text in texts[1::5]]
        learned = [text for place, text in enumerate(texts) if place % 5 > 1]
        rows["train"] += [(text, package if place < labeled else "") for place, text in enumerate(learned)]
    folder.mkdir()
    for split, known in rows.items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *known])
    return f'text(path="{folder}", max_length=48)'


def main(folder: str, epochs: int = 20) -> dict[str, float]:
    """Top-1 on the test texts."""
    torch.set_num_threads(1)
    settings = {"training.trackers": [], "training.optimizer": "adamw"}
    common: dict[str, Any] = {"epochs": epochs, "lr": 2e-3, "display": False, "settings": settings}
    model, out = "textcnn(dim=64, channels=64)", Path(folder)
    teacher = limbeck.train(model=model, data=written(out / "all", 1000), out=out / "teacher", **common)
    student = limbeck.distill(
        student="textcnn(dim=16, channels=16)",
        teacher=teacher,
        data=written(out / "few", 10),
        objective="0.1*ce + 0.9*kd(temperature=4)",
        baseline="auto",
        out=out / "student",
        **common,
    )
    assert student.alone is not None
    runs, found = {"teacher": teacher, "student alone": student.alone, "distilled": student}, {}
    for name, run in runs.items():
        found[name] = run.result.metrics.on("test")["top1"]
        print(f"{name}: {found[name]:.1%} of the test texts, {run.result.student.parameters:,} parameters")
    tokenizer = Tokenizer.from_file(str(out / "student/tokenizer.json"))
    logits = limbeck.load(student)(**encode(tokenizer, ["Run the event loop until it is stopped."]))
    print("Run the event loop until it is stopped:", PACKAGES[logits.argmax()])
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
