"""Every method of the table on one small real task: accuracy, cost of a step, what it adds and what it reads.

    python benchmarks/methods/run.py [--budgets] [--runs DIR]

The student sees 100 labeled scans of handwritten digits; the teacher, of the same widths and three times
as deep, has learned from all 1,000 of the training split. Every method is run by its own recipe, and MGD
around the hosts of its paper, `ce + kd + weight*method`. `--budgets` prints the student alone on the
validation split for several numbers of epochs, by which the budget was picked. A run that is finished is not
repeated. It ends by writing results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import textwrap
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import limbeck
from limbeck import Distiller, data, models
from limbeck.data import Loader, Source
from limbeck.files import write_text
from limbeck.methods import METHODS
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.runs import Run
from limbeck.studies import paired_difference, summarize
from limbeck.studies.grid import Grid

HERE = Path(__file__).parent
STUDENT, TEACHER = "resnet(channels=[8, 16, 32])", "resnet(channels=[8, 16, 32], blocks=3)"
SEEDS, EPOCHS, TRIED = range(5), 200, (50, 100, 200, 400)
BATCH, REPETITIONS, STEPS = 50, 7, 8
REFERENCE = {"training.precision": "fp32", "training.memory_format": "contiguous"}  # on every machine

RECIPES = {name: method.recipe or f"ce + {name}" for name, method in METHODS.items() if name != "mgd"}
HOSTS = {
    "dml": "dml",
    "KD 0.8": "0.2*ce + 0.8*kd",
    **{
        f"{name} + KD": f"ce + kd + {weight}{name}"
        for name, weight in {
            "fitnet": "100*",
            "at": "1000*",
            "sp": "3000*",
            "vid": "",
            "rkd": "",
            "crd": "0.8*",
            "afd": "500*",
            "icd": "",
        }.items()
    },
}
MGD = {
    f"MGD({name}) {scheme}": f'mgd({host}, scheme="{scheme}")'
    for name, host in HOSTS.items()
    for scheme in ("granular", "stable")
    if (name, scheme) != ("dml", "stable")  # there is no such scheme between peers
}
CONTENDERS = {**RECIPES, **HOSTS, **MGD}


def few_digits() -> Source:
    """The digits with 100 training scans."""
    source = data.load("digits(labeled=100)")
    return replace(source, train=source.train.labeled(), name="digits, 100 training scans")


def grid(runs: Path, contenders: Mapping[str, str], epochs: int) -> Grid:
    common = {
        "data": few_digits(),
        "epochs": epochs,
        "batch_size": BATCH,
        "settings": {"training.trackers": [], "training.checkpoint_every": 1000, **REFERENCE},
    }
    return Grid(runs, contenders, SEEDS, STUDENT, Run(runs.parent / "teacher"), common)


def train_teacher(runs: Path) -> Run:
    """The teacher, from every label of the digits."""
    run = Run(runs / "teacher")
    if not run.finished:
        limbeck.train(
            model=TEACHER,
            data="digits",
            epochs=60,
            settings=REFERENCE,
            out=run.path,
            overwrite=True,
            display=False,
        )
    return run


def cost(objective: str, teacher: Run) -> dict[str, Any]:
    """What a method adds: time of a step over one of `ce` alternating with it, trained parameters, reads."""
    source = few_digits()
    loader = Loader(source.train, BATCH, views=source.views, seed=0)
    batches = [*loader][:2]
    taught = bool(parse(objective).all_reads.teacher)
    torch.manual_seed(0)
    student = models.build(STUDENT, example=source.example(), num_classes=source.num_classes)

    def distiller(text: str, network: Any) -> Distiller:
        made = Distiller(copy.deepcopy(student), network, text, example=source.example(), data=loader)
        made.prepare(batches, display=False, device="cpu")
        return made.train()

    sides = [distiller("ce", None), distiller(objective, limbeck.load(teacher) if taught else None)]
    optimizers = [side.optimizer(SGD()) for side in sides]
    times: list[list[float]] = [[], []]
    for repetition in range(REPETITIONS + 1):
        for side, optimizer, seconds in zip(sides, optimizers, times, strict=True):
            started = time.perf_counter()
            for step in range(STEPS):
                side.progress(step, 0, 0.0)
                side(batches[step % 2]).backward()
                optimizer.step()
                optimizer.zero_grad()
            if repetition:  # the first warms up
                seconds.append(time.perf_counter() - started)
    ours, theirs = map(statistics.median, times)
    reads = parse(objective).all_reads
    return {
        "step_over_ce": round(theirs / ours, 2),
        "parameters": sum(p.numel() for p in sides[1].objective.parameters() if p.requires_grad),
        "reads": {"student": list(reads.student), "teacher": list(reads.teacher), "batch": list(reads.batch)},
    }


def report(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    alone, kd = (results["top1"][name] for name in ("ce", "kd"))
    facts = results["data"]
    lead = (
        f"The student `{STUDENT}`, {results['student']['parameters']:,} parameters, learns from "
        f"{facts['train']} labeled scans of handwritten digits for {EPOCHS} epochs; the teacher "
        f"`{TEACHER}`, {results['teacher']['parameters']:,} parameters, has learned from all 1,000 and gets "
        f"{100 * results['teacher']['top1']:.1f} % of the {facts['test']} test scans right. Top-1 on the "
        f"test split in %, last epoch, mean and standard deviation of {len(SEEDS)} seeds; then the mean "
        "difference on the same seeds to the student alone (`ce`) and to KD, with its 95 % Student-t "
        "interval. In so many rows a few intervals miss 0 by accident. Each method is run by its own recipe, "
        "whose weight comes from another task and is not tuned to this one: the table shows that everything "
        "trains and what it costs, and ranks no papers. `at`, `afd` and `ft` compare maps of unit length by "
        "a mean over their pixels, so on these small maps (2 x 2 in the last stage, against 8 x 8) their "
        "weights count for more. A step is the median time of "
        f"{REPETITIONS} x {STEPS} training steps over that of `ce`, alternating in one process, phases "
        "apart; the parameters are those trained beside the student."
    )
    lines = [
        "# Every method on one small task",
        "",
        "Printed by `make bench-methods`, that is `python benchmarks/methods/run.py`, from results.json.",
        f"Machine: {platform.machine()}, 1 thread, torch {torch.__version__}.",
        "",
        textwrap.fill(lead, 108),
        "",
        "The student alone on the validation split: "
        + ", ".join(f"{epochs} epochs {summarize(top1)} %" for epochs, top1 in results["budgets"].items())
        + ".",
        "",
        "| | objective | top-1 | - student alone | - KD | step / `ce` | parameters | reads of the teacher |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, values in results["top1"].items():
        spent = results["cost"][name]
        cells = [
            name,
            f"`{CONTENDERS[name]}`",
            str(summarize(list(values.values()))),
            "" if name == "ce" else str(paired_difference(values, alone)),
            "" if name == "kd" else str(paired_difference(values, kd)),
            f"{spent['step_over_ce']:.2f}",
            f"{spent['parameters']:,}",
            ", ".join(spent["reads"]["teacher"]) or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## MGD around its hosts",
        "",
        "Top-1 of MGD minus that of the host on the same seeds, with the same interval.",
        "",
        "| host | granular | stable |",
        "|---|---|---|",
    ]
    for host in HOSTS:
        around = [results["top1"].get(f"MGD({host}) {scheme}") for scheme in ("granular", "stable")]
        cells = [str(paired_difference(top1, results["top1"][host])) if top1 else "" for top1 in around]
        lines.append(f"| {host} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", action="store_true", help="the tries of the epochs instead")
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"), help="where the runs go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    teacher = train_teacher(arguments.runs)
    budgets = {}
    for epochs in TRIED:
        tries = grid(arguments.runs / f"budget-{epochs}", {"ce": "ce"}, epochs).run()
        budgets[epochs] = [100 * run.result.metrics.on("validation")["top1"] for _, _, run in tries]
        print(f"{epochs} epochs: validation {summarize(budgets[epochs])} %", flush=True)
    if arguments.budgets:
        return
    contest = grid(arguments.runs / "contest", CONTENDERS, EPOCHS)
    for name, seed, run in contest.run():
        print(f"{name} {seed}: {100 * run.result.metrics.on('test')['top1']:.2f} %", flush=True)
    spent = {}
    for name, objective in CONTENDERS.items():
        spent[name] = cost(objective, teacher)
        print(f"{name}: {spent[name]}", flush=True)
    first = contest.finished("ce")[SEEDS[0]].result
    results = {
        "data": first.data.model_dump(),
        "student": first.student.model_dump(),
        "teacher": {**teacher.result.student.model_dump(), **teacher.result.metrics.on("test")},
        "budgets": budgets,
        "top1": {
            name: {
                seed: 100 * run.result.metrics.on("test")["top1"]
                for seed, run in contest.finished(name).items()
            }
            for name in CONTENDERS
        },
        "cost": spent,
    }
    write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(HERE / "README.md", report(results))


if __name__ == "__main__":
    main()
