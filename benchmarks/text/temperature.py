"""Why KD costs a small TextCNN accuracy on Banking77: the temperature, the length of training, the teacher.

    python -m benchmarks.text.temperature [--runs DIR] [--shared DIR]

The student and the teacher of benchmarks/seed-systems, which found the cost. KD is tried at several
temperatures and for more epochs, beside the student alone for as long. The share of training questions that
the trained student gets right says whether it fits its targets. Figures are of the validation split; each is
written to temperature.json beside this file as it is measured. It ends by writing TEMPERATURE.md.
"""

from __future__ import annotations

import argparse
import itertools
import textwrap
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import limbeck
from benchmarks.ledger import Ledger
from benchmarks.small_tasks import BANKING77
from limbeck.data import Loader, Source
from limbeck.features import call
from limbeck.files import write_text
from limbeck.runs import Run
from limbeck.studies import paired_difference, summarize
from limbeck.studies.grid import Grid

HERE = Path(__file__).parent
SEEDS = range(3)
EPOCHS = (30, 90)
CONTENDERS = {
    "alone": "ce",
    "KD, temperature 1": "0.1*ce + 0.9*kd(temperature=1)",
    "KD, temperature 2": "0.1*ce + 0.9*kd(temperature=2)",
    "KD, temperature 4": "0.1*ce + 0.9*kd(temperature=4)",
    "KD, temperature 4, more of the labels": "ce + kd(temperature=4)",
}
TEMPERATURES = (1, 2, 4)

ABOUT = """Student `{student}`, teacher `{teacher_model}`, as in benchmarks/seed-systems. Top-1 in % on the
validation split, mean and standard deviation of 3 seeds, and the mean difference to the student alone with as
many epochs on the same seeds, with its 95 % Student-t interval; then top-1 on the training questions. The
teacher gets {validation:.1f} % of the validation split right and {training:.1f} % of the training questions.
The mean largest probability of its soft targets is {largest}; their mean entropy in nats is {entropy}, where
equal shares have 4.34."""


class Bench:
    """The data, the teacher and the runs.

    Args:
        shared: folder of data files.
        runs: folder of the runs.
    """

    def __init__(self, shared: Path, runs: Path) -> None:
        self.runs = runs
        self.given = BANKING77.common(shared)
        self.source: Source = self.given["data"]

    @cached_property
    def teacher(self) -> Run:
        """The teacher, trained where it is not there yet."""
        made = Run(self.runs / "teacher")
        if not made.finished:
            limbeck.train(
                model=BANKING77.teacher,
                epochs=BANKING77.teacher_epochs,
                out=made.path,
                overwrite=True,
                display=False,
                **self.given,
            )
        return made

    def trained(self, contender: str, epochs: int, seed: int) -> dict[str, float]:
        """Top-1 in % of one run on the validation split and on the training questions."""
        given = {**self.given, "epochs": epochs}
        grid = Grid(self.runs / f"{epochs}-epochs", CONTENDERS, SEEDS, BANKING77.student, self.teacher, given)
        run = grid.cell(contender, seed)
        logits, targets = self.answers(limbeck.load(run))
        return {
            "validation": 100 * run.result.metrics.on("validation")["top1"],
            "training": 100 * float((logits.argmax(1) == targets).float().mean()),
        }

    def answers(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """A network's logits (N, C) for the training questions, and their labels (N,)."""
        network.eval()
        with torch.no_grad():
            pairs = [(call(network, batch.inputs), batch.targets) for batch in Loader(self.source.train, 500)]
        logits, targets = zip(*pairs, strict=True)
        return torch.cat(logits), torch.cat(targets)

    def taught(self) -> dict[str, Any]:
        """What the teacher is like on the training questions, by temperature."""
        logits, targets = self.answers(limbeck.load(self.teacher))
        soft = {str(t): (logits.double() / t).softmax(1) for t in TEMPERATURES}
        return {
            "validation": 100 * self.teacher.result.metrics.on("validation")["top1"],
            "training": 100 * float((logits.argmax(1) == targets).float().mean()),
            "largest": {t: float(each.max(1).values.mean()) for t, each in soft.items()},
            "entropy": {t: float(-(each * each.log()).sum(1).mean()) for t, each in soft.items()},
        }


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    teacher = found["teacher"]
    largest = ", ".join(f"{value:.2f} at temperature {t}" for t, value in teacher["largest"].items())
    entropy = ", ".join(f"{value:.2f}" for value in teacher["entropy"].values())
    soft = {"largest": largest, "entropy": entropy}
    networks = {"student": BANKING77.student, "teacher_model": BANKING77.teacher}
    about = ABOUT.format(**{**teacher, **soft, **networks})
    lines = [
        "# KD on Banking77: temperature and length of training",
        "",
        "Printed by `python -m benchmarks.text.temperature`, from temperature.json.",
        "",
        textwrap.fill(" ".join(about.split()), 108, break_long_words=False),
        "",
        "| epochs | | objective | validation | - alone | training |",
        "|---|---|---|---|---|---|",
    ]
    for epochs in found["runs"]:
        by = found["runs"][epochs]
        alone = {int(seed): each["validation"] for seed, each in by["alone"].items()}
        for name, by_seed in by.items():
            top1 = {int(seed): each["validation"] for seed, each in by_seed.items()}
            cells = [
                epochs,
                name,
                f"`{CONTENDERS[name]}`",
                str(summarize([*top1.values()])),
                "" if name == "alone" else str(paired_difference(top1, alone)),
                str(summarize([each["training"] for each in by_seed.values()])),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/temperature"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench, ledger = Bench(arguments.shared, arguments.runs), Ledger(HERE / "temperature.json")
    ledger.once("teacher", of={"model": BANKING77.teacher}, measure=bench.taught)
    for epochs, seed, contender in itertools.product(EPOCHS, SEEDS, CONTENDERS):
        kept = ledger.once(
            "runs",
            str(epochs),
            contender,
            str(seed),
            of={"objective": CONTENDERS[contender], "model": BANKING77.student},
            measure=partial(bench.trained, contender, epochs, seed),
        )
        print(f"{epochs} epochs, {contender}, seed {seed}: {kept}", flush=True)
    write_text(HERE / "TEMPERATURE.md", page(ledger.found))


if __name__ == "__main__":
    main()
