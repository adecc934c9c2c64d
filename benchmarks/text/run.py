"""Small text classifiers from a fine-tuned MiniLM, with all labels of Banking77 and with 10 a class.

    python -m benchmarks.text.run [SETTING ...] --encoder FOLDER [--runs DIR] [--shared DIR]

`FOLDER` holds the sentence encoder all-MiniLM-L6-v2 as `save_pretrained` writes it; `make bench-text` brings
it. The teacher is the encoder, fine-tuned on all training questions. `all` has every label; `few` has 10 of
each class, and the other questions without a label, which distillation learns from too. Students: a TextCNN
for every method; two of the encoder's layers, and a transformer from scratch, alone and with KD. A run that
is finished is not repeated, so the command may be stopped and started again. It ends by writing results.json
and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import limbeck
from benchmarks.text.readme import readme
from limbeck import data
from limbeck.data import Source
from limbeck.data.split import pick
from limbeck.files import write_text
from limbeck.outputs import UNLABELED
from limbeck.runs import Run
from limbeck.studies.grid import Grid

HERE = Path(__file__).parent
SEEDS = range(5)
LABELS = 10
LENGTH = 64

KD = "0.1*ce + 0.9*kd(temperature=4)"
METHODS = {
    "alone": "ce",
    "KD": KD,
    "DKD": "ce + dkd",
    "DIST": "ce + dist(beta=2, gamma=2, temperature=4)",
    "ICD": "ce + icd",
    "CRD": "ce + 0.8*crd",
    "MixKD": "ce + mixkd",
    "IKD": "0.1*ce + 0.9*ikd",
    "MGD(KD)": 'mgd(0.2*ce + 0.8*kd(temperature=4), scheme="stable")',
    "LW-KD": "ce + lwkd",
}


@dataclass(frozen=True)
class Student:
    """A network with its budget.

    Attributes:
        model: in the notation; {encoder} is the folder.
        epochs: number of epochs.
        lr: learning rate of AdamW.
        methods: who takes part, by name.
    """

    model: str
    epochs: int
    lr: float
    methods: tuple[str, ...]


STUDENTS = {
    "TextCNN": Student("textcnn(dim=64, channels=64)", 30, 2e-3, tuple(METHODS)),
    "two layers": Student(f"hf:{{encoder}}(layers=2, max_length={LENGTH})", 5, 2e-4, ("alone", "KD")),
    "transformer": Student("transformer(dim=64, depth=2, heads=4)", 30, 1e-3, ("alone", "KD")),
}


def common(source: Source, epochs: int, lr: float) -> dict[str, Any]:
    """What every run is given."""
    return {
        "data": source,
        "epochs": epochs,
        "batch_size": 64,
        "lr": lr,
        "settings": {
            "training.trackers": [],
            "training.checkpoint_every": 5,
            "training.optimizer": {"name": "adamw"},
            "training.optimizer.weight_decay": 1e-2,
            "training.precision": "fp32",
            "training.memory_format": "contiguous",
        },
    }


def questions(shared: Path, setting: str) -> Source:
    """Banking77, with all labels or 10 of each class."""
    source = data.load(f"banking77(max_length={LENGTH})", shared / "banking77")
    if setting == "all":
        return source
    targets = source.train.targets
    kept = pick(targets, torch.full((source.task.width,), LABELS), seed=0)
    few = torch.full_like(targets, UNLABELED).index_copy(0, kept, targets[kept])
    return replace(
        source, train=replace(source.train, targets=few), name=f"{source.name}, {LABELS} labels a class"
    )


def fine_tuned(encoder: Path, shared: Path, runs: Path) -> Run:
    """The teacher, trained where it is not there yet."""
    made = Run(runs / "teacher")
    if not made.finished:
        given = common(questions(shared, "all"), epochs=6, lr=2e-4)
        given |= {"batch_size": 32, "settings": {**given["settings"], "training.checkpoint_every": 1}}
        resume = (made.path / "config.yaml").exists()
        limbeck.train(
            model=f"hf:{encoder}(max_length={LENGTH})", out=made.path, resume=resume, display=True, **given
        )
    return made


def grids(setting: str, encoder: Path, shared: Path, runs: Path, teacher: Run) -> Iterator[tuple[str, Grid]]:
    """The runs of a setting: for each student those without a teacher, then those with it."""
    source = questions(shared, setting)
    for name, each in STUDENTS.items():
        student = each.model.format(encoder=encoder)
        taught = {method: METHODS[method] for method in each.methods if method not in ("alone", "LW-KD")}
        untaught = {method: METHODS[method] for method in each.methods if method not in taught}
        given, folder = common(source, each.epochs, each.lr), runs / setting / name.replace(" ", "-")
        yield name, Grid(folder, untaught, SEEDS, student, None, given)
        yield name, Grid(folder, taught, SEEDS, student, teacher, {**given, "cache_teacher": "both"})


def measure(setting: str, encoder: Path, shared: Path, runs: Path) -> dict[str, Any]:
    """Runs whatever of a setting is not finished, and gathers its figures by student, method and seed."""
    teacher = fine_tuned(encoder, shared, runs)
    found: dict[str, Any] = {}
    for name, grid in grids(setting, encoder, shared, runs, teacher):
        of_student = found.setdefault(name, {})
        for method, seed, run in grid.run():
            of_student.setdefault(method, {})[seed] = figures(run)
            print(f"{setting} {name} {method} {seed}: {of_student[method][seed]}", flush=True)
    return {"teacher": figures(teacher), "students": found}


def figures(run: Run) -> dict[str, float | int | None]:
    """What is reported of a run: accuracy in %, agreement with the teacher in %, parameters."""
    result = run.result
    return {
        "top1": 100 * result.metrics.on("test")["top1"],
        "validation": 100 * result.metrics.on("validation")["top1"],
        "agreement": None if result.agreement is None else 100 * result.agreement,
        "parameters": result.student.parameters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", choices=[[], "few", "all"], help="which; both if left out")
    parser.add_argument("--encoder", type=Path, required=True, help="folder of the sentence encoder")
    parser.add_argument("--runs", type=Path, default=Path("runs/text"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    file = HERE / "results.json"
    for setting in arguments.settings or ("few", "all"):
        found = measure(setting, arguments.encoder, arguments.shared, arguments.runs)
        before: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        results = {**before, setting: json.loads(json.dumps(found))}
        write_text(file, json.dumps(results, indent=1) + "\n")
        write_text(HERE / "README.md", readme(results))


if __name__ == "__main__":
    main()
