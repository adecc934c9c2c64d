"""What students lose to a nasty teacher, on the scans of handwritten digits.

    python benchmarks/nasty/run.py [--runs DIR]

For each seed it trains a normal teacher, and nasty ones of the same architecture against it; then the student
alone and the student of each teacher by KD, with the temperature and the share that the nasty teacher's paper
has. A run that is finished is not repeated, and one that was stopped goes on. It ends by writing results.json
and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import platform
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from limbeck.files import write_text
from limbeck.runs import Run, distill, train
from limbeck.studies import paired_difference, summarize

HERE = Path(__file__).parent
COMMAND = "python benchmarks/nasty/run.py"
TEACHER, STUDENT = "cnn", "cnn(channels=[4, 8])"
SEEDS, EPOCHS = range(5), 20
PAIRS = ((0.04, 4), (0.005, 20))  # the authors' weights and temperatures for CIFAR-10 and CIFAR-100
SETTINGS = {
    "training.precision": "fp32",
    "training.memory_format": "contiguous",
    "training.trackers": [],
    "training.checkpoint_every": 1000,
}


def nasty(weight: float, temperature: int) -> str:
    return f'ce + nasty(weight={weight}, temperature={temperature}, normal="teacher")'


def kd(temperature: int) -> str:
    return f"0.1*ce + 0.9*kd(temperature={temperature})"


def finished(path: Path, objective: str, network: str, seed: int, teacher: Run | None = None) -> Run:
    """The run in a directory, done now unless it is there."""
    common: dict[str, Any] = {
        "data": "digits",
        "objective": objective,
        "epochs": EPOCHS,
        "seed": seed,
        "settings": SETTINGS,
        "out": path,
        "resume": (path / "config.yaml").exists(),
        "display": False,
    }
    if teacher is None:
        run = train(model=network, **common)
    else:
        common["settings"] = {**SETTINGS, "teacher.trust": True}  # whatever a nasty teacher is like
        run = distill(student=network, teacher=teacher, **common)
    print(f"{path.name}: {top1(run):.2f} %", flush=True)
    return run


def top1(run: Run) -> float:
    return 100 * run.result.metrics.on("test")["top1"]


def contest(runs: Path, seed: int) -> dict[str, dict[str, float]]:
    """Top-1 of the teachers by name, and of the students by teacher and temperature, with "alone"."""
    folder = runs / f"seed-{seed}"
    normal = finished(folder / "normal", "ce", TEACHER, seed)
    teachers, students = {"normal": normal}, {"alone": finished(folder / "alone", "ce", STUDENT, seed)}
    for weight, temperature in PAIRS:
        name = f"nasty {weight}, {temperature}"
        path = folder / f"nasty-{weight}-{temperature}"
        teachers[name] = finished(path, nasty(weight, temperature), TEACHER, seed, normal)
        for teacher in ("normal", name):
            path = folder / f"student-{temperature}-of-{teachers[teacher].path.name}"
            run = finished(path, kd(temperature), STUDENT, seed, teachers[teacher])
            students[f"{teacher}: {temperature}"] = run
    return {
        "teacher": {name: top1(run) for name, run in teachers.items()},
        "student": {name: top1(run) for name, run in students.items()},
    }


def by_name(results: Mapping[str, Any], role: str) -> dict[str, dict[int, float]]:
    """For each name the top-1 by seed."""
    names = next(iter(results["top1"].values()))[role]
    return {name: {int(seed): each[role][name] for seed, each in results["top1"].items()} for name in names}


def report(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    teachers, students = (by_name(results, role) for role in ("teacher", "student"))
    alone, normal = students["alone"], teachers["normal"]
    lead = (
        f"The teachers are `{TEACHER}`, the student is `{STUDENT}`; both learn from the 1,000 training scans "
        f"of `digits` for {EPOCHS} epochs. A nasty teacher is trained by `{nasty(*PAIRS[0])}`, with the "
        "authors' weights and temperatures for CIFAR-10 and CIFAR-100; its normal self is the normal teacher "
        f"of the same seed. Students learn by `{kd(PAIRS[0][1])}`, or with the other temperature, as in the "
        "paper. Nothing was tuned to this task. Top-1 on the 500 test scans in %, last epoch, mean and "
        f"standard deviation of {len(SEEDS)} seeds; differences are means over the same seeds with their "
        "95 % Student-t interval."
    )
    lines = [
        "# What students lose to a nasty teacher",
        "",
        f"Printed by `{COMMAND}` from results.json.",
        f"Machine: {platform.machine()}, 1 thread, torch {torch.__version__}.",
        "",
        textwrap.fill(lead, 108),
        "",
        "| teacher | weight, temperature | top-1 | - normal teacher |",
        "|---|---|---|---|",
        f"| normal | | {summarize(list(normal.values()))} | |",
    ]
    named = {f"nasty {weight}, {temperature}": (weight, temperature) for weight, temperature in PAIRS}
    for name, pair in named.items():
        top = str(summarize(list(teachers[name].values())))
        cells = ["nasty", f"{pair[0]}, {pair[1]}", top, str(paired_difference(teachers[name], normal))]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| student of | KD's temperature | top-1 | - student alone | - student of the normal teacher |",
        "|---|---|---|---|---|",
        f"| none | | {summarize(list(alone.values()))} | | |",
    ]
    for name, (_, temperature) in named.items():
        usual = students[f"normal: {temperature}"]
        for teacher in ("normal", name):
            values = students[f"{teacher}: {temperature}"]
            cells = [
                teacher,
                str(temperature),
                str(summarize(list(values.values()))),
                str(paired_difference(values, alone)),
                "" if teacher == "normal" else str(paired_difference(values, usual)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/nasty"), help="where the runs go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        "command": COMMAND,
        "epochs": EPOCHS,
        "networks": {"teacher": TEACHER, "student": STUDENT},
        "objectives": {"nasty": [nasty(*pair) for pair in PAIRS], "student": [kd(pair[1]) for pair in PAIRS]},
        "top1": {str(seed): contest(arguments.runs, seed) for seed in SEEDS},
    }
    write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(HERE / "README.md", report(results))


if __name__ == "__main__":
    main()
