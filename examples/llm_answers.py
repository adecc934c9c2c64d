"""Turns answers of a large model in a file into a small text classifier that runs on a processor.

Somebody's LLM has been asked about 1,500 questions to a shop, three times each; nobody has labeled them. Here
the questions are made up, and so is the LLM: it is right in nine answers of ten. Nothing is downloaded.
"""

from __future__ import annotations

import csv
import json
import random
import tempfile
from pathlib import Path

import torch

import limbeck

ASKED = {
    "refund": ["I want my money back for the {}", "please refund the {}", "the {} broke, return my payment"],
    "delivery": ["where is my {}", "the {} has not arrived", "when will you send the {}"],
    "price": ["how much is the {}", "what does the {} cost", "is there a discount on the {}"],
    "stock": ["do you have the {}", "is the {} available", "will the {} come again"],
}
THINGS = ["lamp", "kettle", "chair", "radio", "clock", "carpet", "bicycle", "tent", "printer", "piano"]
POLITE = ["hello, {}", "{} please", "{}, thank you", "excuse me, {}", "{}?", "hi there, {}"]


def questions(count: int, seed: int) -> list[tuple[str, str]]:
    drawn = random.Random(seed)
    made = []
    for _ in range(count):
        intent = drawn.choice(sorted(ASKED))
        text = drawn.choice(ASKED[intent]).format(drawn.choice(THINGS))
        made.append((f"{drawn.choice(POLITE).format(text)} (order {drawn.randrange(10**6)})", intent))
    return made


def answered(intent: str, drawn: random.Random) -> list[str]:
    """Three answers of the LLM."""
    return [intent if drawn.random() < 0.9 else drawn.choice(sorted(ASKED)) for _ in range(3)]


def main(folder: str, epochs: int = 8) -> dict[str, float]:
    """How many of the held-out questions the classifier gets right."""
    torch.set_num_threads(1)
    drawn, data = random.Random(1), Path(folder, "data")
    data.mkdir()
    training, test = questions(1500, seed=0), questions(300, seed=2)
    for split, rows in {"train": [(text, "") for text, _ in training], "test": test}.items():
        with (data / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    answers = Path(folder, "answers.jsonl")
    lines = [json.dumps({"text": text, "answers": answered(intent, drawn)}) for text, intent in training]
    answers.write_text("\n".join(lines), encoding="utf-8")
    run = limbeck.distill(
        student="textcnn(dim=32, channels=32)",
        teacher=str(answers),
        data=f'text(path="{data}", names={json.dumps(sorted(ASKED))})',
        epochs=epochs,
        lr=2e-3,
        settings={"training.trackers": [], "training.optimizer": "adamw"},
        out=f"{folder}/student",
        display=False,
    )
    found = run.result.metrics.on("test")["top1"]
    print(f"{found:.1%} of the test questions are right, {run.result.student.parameters:,} parameters")
    return {"distilled": found}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
