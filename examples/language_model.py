"""Distills a small language model that reads Python's own manual, and lets both go on with a sentence.

The text is what `help()` shows of the language, some 700,000 characters; it comes with Python. The networks
read bytes. Nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

import limbeck


def manual(characters: int) -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))[:characters]


def main(folder: str, epochs: int = 6, characters: int = 120_000) -> dict[str, float]:
    """Bits per byte on the part that was held out; fewer are better."""
    torch.set_num_threads(1)
    Path(folder, "manual.txt").write_text(manual(characters), encoding="utf-8")
    common: dict[str, Any] = {
        "data": f'language(path="{folder}/manual.txt", block=128, vocab_size=257)',
        "epochs": epochs,
        "batch_size": 16,
        "display": False,
        "settings": {"training.trackers": []},
    }
    small = "gpt(dim=32, depth=1, heads=2)"
    teacher = limbeck.train(model="gpt(dim=64, depth=2, heads=4)", out=f"{folder}/teacher", **common)
    alone = limbeck.train(model=small, out=f"{folder}/alone", **common)
    distilled = limbeck.distill(
        student=small,
        teacher=teacher,
        objective="0.5*ce + 0.5*kd(temperature=1)",
        out=f"{folder}/distilled",
        **common,
    )
    found = {}
    for name, run in {"teacher": teacher, "student alone": alone, "distilled": distilled}.items():
        found[name] = run.result.metrics.on("test")["bits_per_byte"]
        print(f"{name}: {found[name]:.3f} bits per byte, {run.result.student.parameters:,} parameters")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
