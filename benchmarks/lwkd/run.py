"""LW-KD's temperatures, weight and adversary, where a label smoother may help, beside label smoothing itself.

    python -m benchmarks.lwkd.run [TASK ...] [--runs DIR] [--shared DIR]

Differences are given on the validation split and, beside it, on the test split. Each figure is written to
results.json beside this file as it is measured and is not measured again, so the command may be stopped and
started again, on another machine too. It ends by writing README.md.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.ledger import Ledger
from benchmarks.small_tasks import BANKING77, BREAST_CANCER, DIGITS, Task

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


def measure(name: str, task: Task, runs: Path, shared: Path, ledger: Ledger) -> None:
    """Measures whatever of a task is not in the ledger yet, by contender and seed."""
    for seed, (contender, objective) in itertools.product(SEEDS, CONTENDERS.items()):
        of = {"student": task.student, "epochs": task.epochs, "objective": objective}
        cell = partial(trained, name, task, contender, seed, runs, shared)
        kept = ledger.once(name, contender, str(seed), of=of, measure=cell)
        print(f"{name} {contender} {seed}: validation {kept['validation']['top1']:.2f} %", flush=True)


def trained(
    name: str, task: Task, contender: str, seed: int, runs: Path, shared: Path
) -> dict[str, dict[str, float]]:
    """Top-1 in % and nll in nats of a run by split."""
    common = {"epochs": task.epochs, **task.common(shared)}
    run = Grid(runs / name, CONTENDERS, SEEDS, student=task.student, common=common).cell(contender, seed)
    found = {split: run.result.metrics.on(split) for split in SPLITS}
    return {split: {"top1": 100 * each["top1"], "nll": each["nll"]} for split, each in found.items()}


def values(task: Mapping[str, Any], contender: str, split: str, metric: str) -> dict[int, float]:
    """Figures of a contender by seed."""
    return {int(seed): each[split][metric] for seed, each in task.get(contender, {}).items()}


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
        of = next(iter(task["student alone"].values()))["of"]
        lines += [
            "",
            f"## {name}",
            "",
            f"Student `{of['student']}`, {of['epochs']} epochs.",
            "",
            "| contender | objective | validation: - alone | - label smoothing | test top-1 | - alone |"
            " - label smoothing | test nll | seeds |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for contender, objective in CONTENDERS.items():
            top1 = values(task, contender, "test", "top1")
            if top1:
                nll = values(task, contender, "test", "nll")
                cells = [
                    contender,
                    f"`{objective}`",
                    *_differences(task, contender, "validation"),
                    str(summarize([*top1.values()])),
                    *_differences(task, contender, "test"),
                    str(summarize([*nll.values()])),
                    str(len(top1)),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(task: Mapping[str, Any], contender: str, split: str) -> list[str]:
    found = values(task, contender, split, "top1")
    others = {each: values(task, each, split, "top1") for each in BASELINES}
    return [
        str(paired_difference(found, other)) if name != contender and other else ""
        for name, other in others.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS], help="which; all if left out")
    parser.add_argument("--runs", type=Path, default=Path("runs/lwkd"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ledger = Ledger(HERE / "results.json")
    for name in arguments.tasks or TASKS:
        measure(name, TASKS[name], arguments.runs, arguments.shared, ledger)
    write_text(HERE / "README.md", report(ledger.found))


if __name__ == "__main__":
    main()
