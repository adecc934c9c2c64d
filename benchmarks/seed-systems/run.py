"""The three seed systems beside what they compare with, on real data that a laptop can train on.

    python -m benchmarks.seed-systems.run [TASK ...] [--budgets] [--runs DIR] [--shared DIR]

`--budgets` trains the student alone for several numbers of epochs and prints its accuracy on the validation
split, by which each task's number was picked. Without it every contender is run with every seed. A run that
is finished is not repeated, so the command may be stopped and started again. It ends by writing results.json
and README.md beside this file, from all finished runs.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from benchmarks.small_tasks import BANKING77, BREAST_CANCER, DIGITS, Task

import limbeck
from limbeck import data
from limbeck.data import Source
from limbeck.files import write_text
from limbeck.runs import Run
from limbeck.studies import paired_difference, summarize
from limbeck.studies.grid import Grid

HERE = Path(__file__).parent

PLAIN = 'alpha=0.3, teacher_temperature=5, real="target", r1=0, conditional=false'
"""Of LW-KD; benchmarks/lwkd compares it with the default."""

CONTENDERS = {
    "student alone": "ce",
    "label smoothing": "label_smoothing",
    "KD": "0.1*ce + 0.9*kd(temperature=4)",
    "LW-KD, plain adversary": f"0.7*ce + lwkd({PLAIN})",
    "LW-KD, no adversary": "0.7*ce + lwkd(alpha=0.3, teacher_temperature=5, adversarial=0)",
    "LW-KD faithful": '0.9*ce + lwkd(profile="faithful")',
    "LW-KD faithful, no adversary": '0.9*ce + lwkd(profile="faithful", adversarial=0)',
    "ICD": "ce + icd",
    "ICD + KD": "ce + kd + icd",
    "MGD(KD) granular": "mgd(0.2*ce + 0.8*kd)",
    "MGD(KD) stable": 'mgd(0.2*ce + 0.8*kd, scheme="stable")',
    "MGD(KD + ICD) stable": 'mgd(ce + kd + icd, scheme="stable")',
}
BASELINES = ("student alone", "label smoothing")


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
    "digits": DIGITS,
    "breast_cancer": BREAST_CANCER,
    "banking77": BANKING77,
    "cifar100": Task(
        cifar100,
        student="cnn(channels=[8, 16, 32])",
        teacher="cnn(channels=[32, 64, 128])",
        epochs=60,
        lr=0.05,
        batch_size=32,
        seeds=3,
        tried=(15, 30, 60, 120),
    ),
}


def run_budgets(name: str, shared: Path, runs: Path) -> None:
    """The student alone for each number of epochs that was tried."""
    common = TASKS[name].common(shared)
    for epochs in TASKS[name].tried:
        for _, seed, run in tries(name, runs, epochs, common).run():
            top1 = run.result.metrics.on("validation")["top1"]
            print(f"{name} {epochs} epochs, seed {seed}: validation {100 * top1:.2f} %", flush=True)


def tries(name: str, runs: Path, epochs: int, common: Mapping[str, Any]) -> Grid:
    """The student alone for a number of epochs, three seeds."""
    given = {"epochs": epochs, **common}
    path = runs / name / f"budget-{epochs}"
    return Grid(path, {"student alone": "ce"}, range(3), student=TASKS[name].student, common=given)


def grid(name: str, runs: Path, common: Mapping[str, Any]) -> Grid:
    """All runs of a task."""
    task = TASKS[name]
    return Grid(
        runs / name,
        CONTENDERS,
        range(task.seeds),
        student=task.student,
        teacher=Run(runs / name / "teacher"),
        common=common,
    )


def run_task(name: str, shared: Path, runs: Path) -> None:
    """Runs whatever of a task is not finished yet."""
    task, teacher, common = TASKS[name], Run(runs / name / "teacher"), TASKS[name].common(shared)
    if not teacher.finished:
        limbeck.train(
            model=task.teacher,
            epochs=task.teacher_epochs,
            out=teacher.path,
            overwrite=True,
            display=False,
            **common,
        )
    print(f"{name}: teacher {100 * teacher.result.metrics.on('test')['top1']:.2f} %", flush=True)
    for contender, seed, run in grid(name, runs, {"epochs": task.epochs, **common}).run():
        print(f"{name} {contender} {seed}: {100 * run.result.metrics.on('test')['top1']:.2f} %", flush=True)


def collect(runs: Path) -> dict[str, Any]:
    """Every finished run's figures: task, contender, seed."""
    tasks: dict[str, Any] = {}
    for name, task in TASKS.items():
        teacher = Run(runs / name / "teacher")
        found = {contender: grid(name, runs, {}).finished(contender) for contender in CONTENDERS}
        results = [run.result for by_seed in found.values() for run in by_seed.values()]
        if teacher.finished and results:
            tasks[name] = {
                "teacher": {
                    **teacher.result.student.model_dump(),
                    **teacher.result.metrics.on("test"),
                    "epochs": task.teacher_epochs,
                },
                "student": results[0].student.model_dump(),
                "data": results[0].data.model_dump(),
                "epochs": task.epochs,
                "lr": task.lr,
                "batch_size": task.batch_size,
                "top1": {
                    contender: {
                        seed: 100 * run.result.metrics.on("test")["top1"] for seed, run in by_seed.items()
                    }
                    for contender, by_seed in found.items()
                },
                "budgets": budgets(runs, name),
            }
    return tasks


def budgets(runs: Path, name: str) -> dict[int, list[float]]:
    """Validation accuracy of the student alone by number of epochs, a figure for each seed."""
    found = {epochs: tries(name, runs, epochs, {}).finished("student alone") for epochs in TASKS[name].tried}
    return {
        epochs: [100 * run.result.metrics.on("validation")["top1"] for run in by_seed.values()]
        for epochs, by_seed in found.items()
        if by_seed
    }


def report(tasks: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# The seed systems, measured",
        "",
        f"Printed by `python -m benchmarks.seed-systems.run {' '.join(tasks)}`, from results.json;",
        "`make bench-seed-systems` runs whatever tasks are missing.",
        f"Machine: {platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}.",
        "Top-1 accuracy on the test split in %, mean and standard deviation over the seeds; then the",
        "difference to the student alone and to label smoothing on the same seeds, with its 95 % Student-t",
        "interval. From fewer than five seeds there is no verdict. The last epoch is reported and all train",
        "as long. The number of epochs was picked by the student alone on the validation split, from the",
        "tries of `run.py --budgets` that stand above each table (mean and standard deviation of three",
        "seeds). On CIFAR-100 twice as many epochs still gained: there the student alone is short of its",
        "plateau. The methods' arguments are the papers', not tuned.",
    ]
    for name, task in tasks.items():
        student, teacher, facts = task["student"], task["teacher"], task["data"]
        lines += [
            "",
            f"## {name}",
            "",
            f"{facts['train']:,} training, {facts['validation']:,} validation and {facts['test']:,} test "
            f"samples, {facts['outputs']} classes. Student `{student['model']}` with "
            f"{student['parameters']:,} parameters, {task['epochs']} epochs; teacher `{teacher['model']}` "
            f"with {teacher['parameters']:,}, {100 * teacher['top1']:.2f} %.",
            "",
            "The student alone on the validation split: "
            + ", ".join(f"{epochs} epochs {summarize(top1)} %" for epochs, top1 in task["budgets"].items())
            + ".",
            "",
            "| contender | objective | top-1 | - student alone | - label smoothing | seeds |",
            "|---|---|---|---|---|---|",
        ]
        for contender, values in task["top1"].items():
            if values:
                differences = [
                    str(paired_difference(values, others)) if contender != baseline and others else ""
                    for baseline, others in ((name, task["top1"][name]) for name in BASELINES)
                ]
                cells = [
                    contender,
                    f"`{CONTENDERS[contender]}`",
                    str(summarize(list(values.values()))),
                    *differences,
                    str(len(values)),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


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
