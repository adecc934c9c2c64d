"""The three seed systems beside what they compare with, on real data that a laptop can train on.

    python benchmarks/seed-systems/run.py [TASK ...] [--budgets] [--runs DIR] [--shared DIR]

`--budgets` trains the student alone for several numbers of epochs, which is how each task's was picked: on
the validation split, where twice as many gained nothing. Every contender is run with every seed; a run that is finished is not repeated, so the command may be stopped
and started again. It ends by writing results.json and README.md beside this file, from all finished runs.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import limbeck
from limbeck import data
from limbeck.data import Source
from limbeck.files import write_text
from limbeck.objective import parse
from limbeck.runs import Run
from limbeck.studies import paired_difference, summarise

HERE = Path(__file__).parent

CONTENDERS = {
    "student alone": "ce",
    "label smoothing": "label_smoothing",
    "KD": "0.1*ce + 0.9*kd(temperature=4)",
    "LW-KD": "0.7*ce + lwkd",
    "LW-KD, no adversary": "0.7*ce + lwkd(adversarial=0)",
    "LW-KD faithful": '0.9*ce + lwkd(profile="faithful")',
    "LW-KD faithful, no adversary": '0.9*ce + lwkd(profile="faithful", adversarial=0)',
    "ICD": "ce + icd",
    "ICD + KD": "ce + kd + icd",
    "MGD(KD) granular": "mgd(0.2*ce + 0.8*kd)",
    "MGD(KD) stable": 'mgd(0.2*ce + 0.8*kd, scheme="stable")',
    "MGD(KD + ICD) stable": 'mgd(ce + kd + icd, scheme="stable")',
}
BASELINES = ("student alone", "label smoothing")


@dataclass(frozen=True)
class Task:
    """A data set with its networks and the budget."""

    source: Callable[[Path], Source]
    student: str
    teacher: str
    epochs: int
    lr: float
    seeds: int = 5
    batch_size: int = 64
    weight_decay: float = 5e-4
    teacher_epochs: int = 30
    settings: Mapping[str, Any] = field(default_factory=dict)
    tried: tuple[int, ...] = ()
    """The numbers of epochs that `--budgets` compares."""


def cifar100(shared: Path) -> Source:
    """The first 4,000 training images of CIFAR-100, the next 2,000 for validation, and the test split."""
    import datasets

    parts = {}
    for name, pattern in (("train", "train-00000*.parquet"), ("test", "test-*.parquet")):
        files = [str(file) for file in sorted((shared / "cifar100").glob(pattern))]
        rows = datasets.Dataset.from_parquet(files).select(range(6_000 if name == "train" else 10_000))
        images = torch.stack([torch.tensor(image) for image in rows.with_format("numpy")["img"]])
        parts[name] = images.permute(0, 3, 1, 2).contiguous(), torch.tensor(rows["fine_label"])
    (images, labels), test = parts["train"], parts["test"]
    return data.from_tensors(
        images[:4_000],
        labels[:4_000],
        validation=(images[4_000:], labels[4_000:]),
        test=test,
        num_classes=100,
        views="crop(padding=4, flip=true)",
        name="cifar100, 4,000 training images",
    )


TASKS = {
    "digits": Task(
        lambda shared: data.load("digits"),
        student="cnn(channels=[4, 8])",
        teacher="cnn(channels=[32, 64], depth=2)",
        epochs=120,
        lr=0.05,
        tried=(60, 120, 240, 480, 960),
    ),
    "breast_cancer": Task(
        lambda shared: data.load("breast_cancer"),
        student="mlp(hidden=[8])",
        teacher="mlp(hidden=[64, 64])",
        epochs=150,
        lr=0.05,
        tried=(75, 150, 300, 600),
    ),
    "banking77": Task(
        lambda shared: data.load("banking77(max_length=32)", shared / "banking77"),
        student="textcnn(dim=32, channels=32)",
        teacher="textcnn(dim=64, channels=64)",
        epochs=30,
        lr=2e-3,
        weight_decay=1e-2,
        settings={"training.optimizer": {"name": "adamw"}},
        tried=(15, 30, 60),
    ),
    "cifar100": Task(
        cifar100,
        student="cnn(channels=[8, 16, 32])",
        teacher="cnn(channels=[32, 64, 128])",
        epochs=30,
        lr=0.05,
        batch_size=128,
        seeds=3,
        tried=(15, 30, 60, 120),
    ),
}


def setting(task: Task, shared: Path) -> dict[str, Any]:
    """What every run of a task is given."""
    return {
        "data": task.source(shared),
        "batch_size": task.batch_size,
        "lr": task.lr,
        "settings": {
            "training.trackers": [],
            **task.settings,
            "training.optimizer.weight_decay": task.weight_decay,
            "training.checkpoint_every": 1000,
        },
        "display": False,
        "overwrite": True,
    }


def run_budgets(name: str, shared: Path, runs: Path) -> None:
    """The student alone for each number of epochs that was tried, three seeds each."""
    task = TASKS[name]
    common = setting(task, shared)
    for epochs in task.tried:
        for seed in range(3):
            run = budget_run(runs, name, epochs, seed)
            if not run.finished:
                limbeck.train(model=task.student, epochs=epochs, seed=seed, out=run.path, **common)
            top1 = run.result["metrics"]["validation"]["top1"]
            print(f"{name} {epochs} epochs, seed {seed}: validation {100 * top1:.2f} %", flush=True)


def budget_run(runs: Path, name: str, epochs: int, seed: int) -> Run:
    return Run(runs / name / f"budget-{epochs}-{seed}")


def run_task(name: str, shared: Path, runs: Path) -> None:
    """Runs whatever of a task is not finished yet."""
    task = TASKS[name]
    common = setting(task, shared)
    teacher = Run(runs / name / "teacher")
    if not teacher.finished:
        limbeck.train(model=task.teacher, epochs=task.teacher_epochs, out=teacher.path, **common)
    print(f"{name}: teacher {100 * teacher.result['student']['top1']:.2f} %", flush=True)
    for seed in range(task.seeds):
        for contender, objective in CONTENDERS.items():
            run = Run(runs / name / f"{slug(contender)}-{seed}")
            if not run.finished:
                rest = {"epochs": task.epochs, "seed": seed, "out": run.path, **common}
                if contender in BASELINES:
                    limbeck.train(model=task.student, objective=objective, **rest)
                else:
                    taught = bool(parse(objective).all_reads.teacher)
                    limbeck.distill(
                        student=task.student,
                        teacher=teacher if taught else None,
                        objective=objective,
                        **rest,
                    )
            print(f"{name} {contender} {seed}: {100 * run.result['student']['top1']:.2f} %", flush=True)


def slug(contender: str) -> str:
    """A contender's name as part of a path."""
    return "".join(letter if letter.isalnum() else "-" for letter in contender.lower())


def collect(runs: Path) -> dict[str, Any]:
    """Every finished run's figures: task, contender, seed."""
    tasks: dict[str, Any] = {}
    for name, task in TASKS.items():
        found: dict[str, dict[str, float]] = {}
        for contender in CONTENDERS:
            finished = [Run(runs / name / f"{slug(contender)}-{seed}") for seed in range(task.seeds)]
            found[contender] = {
                str(run.result["seed"]): 100 * run.result["student"]["top1"]
                for run in finished
                if run.finished
            }
        teacher = Run(runs / name / "teacher")
        if teacher.finished and any(found.values()):
            example = next(
                Run(runs / name / f"{slug(contender)}-{seed}").result
                for contender, values in found.items()
                for seed in values
            )
            tasks[name] = {
                "teacher": {**teacher.result["student"], "epochs": task.teacher_epochs},
                "student": {key: example["student"][key] for key in ("model", "parameters")},
                "data": example["data"],
                "epochs": task.epochs,
                "lr": task.lr,
                "batch_size": task.batch_size,
                "top1": found,
            }
    return tasks


def report(tasks: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# The seed systems, measured",
        "",
        f"Printed by `python benchmarks/seed-systems/run.py {' '.join(tasks)}`, from results.json;",
        "`make bench-seed-systems` runs whatever tasks are missing.",
        f"Machine: {platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}.",
        "Top-1 accuracy on the test split in %, mean and standard deviation over the seeds; then the",
        "difference to the student alone and to label smoothing on the same seeds, with its 95 % Student-t",
        "interval. From fewer than five seeds there is no verdict. The last epoch is reported and all train",
        "as long. Epochs were picked from two or three tries of the student alone on the validation split;",
        "on the digits 120 epochs were still better than 60 there and no more were tried, so a plateau is",
        "not shown. The methods' arguments are the papers', not tuned.",
    ]
    for name, task in tasks.items():
        student, teacher, facts = task["student"], task["teacher"], task["data"]
        lines += [
            "",
            f"## {name}",
            "",
            f"{facts['train']:,} training, {facts['validation']:,} validation and {facts['test']:,} test "
            f"samples, {facts['classes']} classes. Student `{student['model']}` with "
            f"{student['parameters']:,} parameters, {task['epochs']} epochs; teacher `{teacher['model']}` "
            f"with {teacher['parameters']:,}, {100 * teacher['top1']:.2f} %.",
            "",
            "| contender | objective | top-1 | - student alone | - label smoothing | seeds |",
            "|---|---|---|---|---|---|",
        ]
        for contender, values in task["top1"].items():
            if values:
                differences = [
                    difference(values, task["top1"][baseline], contender, baseline) for baseline in BASELINES
                ]
                cells = [
                    contender,
                    f"`{CONTENDERS[contender]}`",
                    spread(values),
                    *differences,
                    str(len(values)),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: Mapping[str, float]) -> str:
    summary = summarise(list(values.values()))
    return f"{summary.mean:.2f}" + ("" if summary.sd is None else f" ± {summary.sd:.2f}")


def difference(
    values: Mapping[str, float], others: Mapping[str, float], contender: str, baseline: str
) -> str:
    if contender == baseline or not others:
        return ""
    found = paired_difference({int(k): v for k, v in values.items()}, {int(k): v for k, v in others.items()})
    interval = "" if found.interval is None else " ({:+.2f} to {:+.2f})".format(*found.interval)
    return f"{found.mean:+.2f}{interval}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS], help="which; all if left out")
    parser.add_argument("--budgets", action="store_true", help="the tries of the epochs instead")
    parser.add_argument("--runs", type=Path, default=Path("runs/seed-systems"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.tasks or TASKS:
        (run_budgets if arguments.budgets else run_task)(name, arguments.shared, arguments.runs)
    tasks = collect(arguments.runs)
    write_text(HERE / "results.json", json.dumps(tasks, indent=1) + "\n")
    write_text(HERE / "README.md", report(tasks))


if __name__ == "__main__":
    main()
