"""LW-KD's temperatures, weight and adversary, where a label smoother may help, beside label smoothing itself.

    python -m benchmarks.lwkd.run [TASK ...] [--runs DIR] [--shared DIR]

Differences are given on the validation split and, beside it, on the test split. A run that is finished is
not repeated, so the command may be stopped and started again. It ends by writing results.json and README.md
beside this file, from all finished runs.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.small_tasks import BANKING77, BREAST_CANCER, DIGITS

from limbeck import data
from limbeck.files import write_text
from limbeck.studies import paired_difference, summarize
from limbeck.studies.grid import Grid

HERE = Path(__file__).parent
SEEDS = range(5)

OLD = 'alpha=0.3, teacher_temperature=5, real="target", r1=0, conditional=false'
CONTENDERS = {
    "student alone": "ce",
    "label smoothing": "label_smoothing",
    "LW-KD": "ce + lwkd",
    "no adversary": "ce + lwkd(adversarial=0)",
    "soft targets as real": 'ce + lwkd(real="target")',
    "plain adversary": f"0.7*ce + lwkd({OLD})",
    "faithful": '0.9*ce + lwkd(profile="faithful")',
}
BASELINES = ("student alone", "label smoothing")
SPLITS = ("validation", "test")


TASKS = {
    "breast_cancer": BREAST_CANCER,
    "digits, 100 labels": replace(DIGITS, source=lambda shared: data.load("digits(labeled=100)")),
    "digits": DIGITS,
    "digits, 40 % of the labels wrong": replace(
        DIGITS, source=lambda shared: data.load("noisy_labels(digits, rate=0.4)")
    ),
    "banking77": BANKING77,
}


def grid(name: str, runs: Path, shared: Path | None = None) -> Grid:
    """All runs of a task; without `shared` only to look at those that are finished."""
    task = TASKS[name]
    common = {} if shared is None else {"epochs": task.epochs, **task.common(shared)}
    return Grid(runs / name, CONTENDERS, SEEDS, student=task.student, common=common)


def collect(runs: Path) -> dict[str, Any]:
    """Figures in % and nats of every finished run: task, split, metric, contender, seed."""
    tasks: dict[str, Any] = {}
    for name, task in TASKS.items():
        runs_of = {contender: grid(name, runs).finished(contender) for contender in CONTENDERS}
        some = next((run for by_seed in runs_of.values() for run in by_seed.values()), None)
        if some is None:
            continue
        tasks[name] = {"student": some.result.student.model_dump(), "epochs": task.epochs}
        for split in SPLITS:
            tasks[name][split] = {
                metric: {
                    contender: {
                        seed: scale * run.result.metrics.on(split)[metric] for seed, run in by_seed.items()
                    }
                    for contender, by_seed in runs_of.items()
                }
                for metric, scale in (("top1", 100), ("nll", 1))
            }
    return tasks


def report(tasks: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# LW-KD's arguments, measured",
        "",
        "Printed by `python -m benchmarks.lwkd.run`, from results.json.",
        f"Machine: {platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}.",
        "Top-1 accuracy in %, and its difference to the student alone and to label smoothing on the same",
        "seeds with the 95 % Student-t interval; nll is the mean negative log-likelihood in nats. The last",
        "epoch is reported and all train as long. The default was settled before these runs, by a screening",
        "on validation splits. From fewer than five seeds there is no verdict.",
    ]
    for name, task in tasks.items():
        lines += [
            "",
            f"## {name}",
            "",
            f"Student `{task['student']['model']}`, {task['epochs']} epochs.",
            "",
            "| contender | objective | validation: - alone | - label smoothing | test top-1 | - alone |"
            " - label smoothing | test nll | seeds |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for contender, objective in CONTENDERS.items():
            values = {split: task[split]["top1"][contender] for split in SPLITS}
            if values["test"]:
                differences = {
                    split: [
                        str(paired_difference(values[split], task[split]["top1"][baseline]))
                        if contender != baseline and task[split]["top1"][baseline]
                        else ""
                        for baseline in BASELINES
                    ]
                    for split in SPLITS
                }
                cells = [
                    contender,
                    f"`{objective}`",
                    *differences["validation"],
                    str(summarize(list(values["test"].values()))),
                    *differences["test"],
                    str(summarize(list(task["test"]["nll"][contender].values()))),
                    str(len(values["test"])),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS], help="which; all if left out")
    parser.add_argument("--runs", type=Path, default=Path("runs/lwkd"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.tasks or TASKS:
        for contender, seed, run in grid(name, arguments.runs, arguments.shared).run():
            top1 = run.result.metrics.on("validation")["top1"]
            print(f"{name} {contender} {seed}: validation {100 * top1:.2f} %", flush=True)
    tasks = json.loads(json.dumps(collect(arguments.runs)))
    write_text(HERE / "results.json", json.dumps(tasks, indent=1) + "\n")
    write_text(HERE / "README.md", report(tasks))


if __name__ == "__main__":
    main()
