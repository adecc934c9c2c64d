"""Small sentence encoders from MiniLM-L6: two of its layers, and a static table.

    python -m benchmarks.embeddings.run --encoder FOLDER [--budgets] [--tiny] [--runs DIR] [--shared DIR]

`FOLDER` holds all-MiniLM-L6-v2, a folder of sentence-transformers; `make bench-embeddings` brings it.
Students learn from the texts of Cranfield and the training sentences of STS-B by the teacher's embeddings,
which are computed once, before the first run. The student alone learns from the judgments of Cranfield in as
many steps. All are measured on the held-out queries of Cranfield and the test pairs of STS-B, and their speed
beside the teacher's in one process. Every figure is written to results.json beside this file as soon as it is
there, and not measured again, so the command may be stopped and started again; it ends by writing README.md.

`--budgets` measures what `cosine` reaches on the validation queries with the budgets that contenders.py says
are tried, for results.json and the page. `--tiny` does everything with a few texts and hardly a step, in the
folder of the runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import nn

from benchmarks.embeddings.contenders import BATCH, LENGTH, METHODS, STUDENTS, TEACHER, Student
from benchmarks.embeddings.encoders import Encoder, ndcg, quality, speeds
from benchmarks.embeddings.readme import write_page
from benchmarks.embeddings.texts import Collection, collection
from benchmarks.ledger import Ledger
from limbeck import data, models
from limbeck.config import StudentConfig, TeacherConfig
from limbeck.data.tokenization import Tokenization
from limbeck.models.encoders import write
from limbeck.objective import parse
from limbeck.runs import Run, distill, load, networks, preparations, train
from limbeck.runs.filling import fill

HERE = Path(__file__).parent


class Bench:
    """The texts, the teacher, and where things go.

    Args:
        encoder: folder of the teacher.
        shared: folder of the data files.
        runs: folder of the runs.
        tiny: whether a few texts are enough.
    """

    def __init__(self, encoder: Path, shared: Path, runs: Path, *, tiny: bool) -> None:
        self.encoder, self.runs = encoder, runs
        known = collection(shared)
        self.known: Collection = known.tiny() if tiny else known
        self.texts = runs / "texts"
        self.texts.mkdir(parents=True, exist_ok=True)
        self.known.write(self.texts)
        self.teacher = TEACHER.format(encoder=encoder)
        place = f'path="{self.texts}", held_out=0'
        self.judged = data.load(f"retrieval({place}, documents=false)")
        self.taught = data.load(f'retrieval({place}, texts="{self.texts / "sentences.jsonl"}")')
        self.table = runs / "table"
        if not self.table.exists():
            self.write_table(self.table, "none")

    def write_table(self, place: Path, dim: int | Literal["none"]) -> None:
        """Makes static embeddings of the teacher: each token of the vocabulary goes through it once."""
        call = f"static({json.dumps(str(self.encoder))}, dim={json.dumps(dim)})"
        config = StudentConfig(model=call)
        self.write(networks.student(config, self.taught, seed=0), config, place)

    def write(self, network: nn.Module, config: StudentConfig, place: Path) -> None:
        """Writes an encoder as a folder of sentence-transformers, whole or not at all."""
        made = place.with_suffix(".partial")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        reads = preparations.preparation(config, self.taught.task)
        assert isinstance(reads, Tokenization)
        write(network, made, reads.max_length, {})
        reads.save(made)
        made.rename(place)

    def fill(self) -> None:
        """Asks the teacher about every training text, where that is not done yet."""
        began, asked = time.perf_counter(), 0
        for filling in fill(
            teacher=self.teacher,
            data=self.taught.name,
            cache_teacher="both",
            settings={"training.precision": "fp32"},
        ):
            asked = filling.asked
        if asked:
            print(
                f"{asked:,} texts embedded by the teacher in {time.perf_counter() - began:.0f} s", flush=True
            )

    def trained(self, student: Student, objective: str, seed: int, out: Path) -> Encoder:
        """A student, trained where it is not there yet."""
        alone = not parse(objective).all_reads.teacher
        run = Run(out)
        if not run.finished:
            given: dict[str, Any] = {
                "data": self.judged if alone else self.taught,
                "objective": objective,
                "epochs": 1,
                "batch_size": BATCH,
                "lr": student.lr,
                "seed": seed,
                "out": out,
                "resume": (out / "config.yaml").exists(),
                "display": False,
                "settings": {
                    "training.trackers": [],
                    "training.samples_per_epoch": student.steps * BATCH,
                    "training.optimizer": {"name": "adamw"},
                    "training.precision": "fp32",
                },
            }
            model = self.model(student)
            if alone:
                train(model=model, **given)
            else:
                distill(student=model, teacher=self.teacher, cache_teacher="both", **given)
        return self.serving(StudentConfig(model=self.model(student)), load(out))

    def untrained(self, student: Student) -> Encoder:
        """A student as it begins."""
        config = StudentConfig(model=self.model(student))
        return self.serving(config, networks.student(config, self.taught, seed=0))

    def asked(self) -> Encoder:
        """The teacher."""
        config = TeacherConfig(model=self.teacher)
        return self.serving(config, networks.teacher(config, self.taught))

    def serving(self, config: StudentConfig | TeacherConfig, network: nn.Module) -> Encoder:
        """A network with the tokenizer that it reads."""
        reads = preparations.preparation(config, self.taught.task)
        assert isinstance(reads, Tokenization)
        return Encoder(network, Tokenizer.from_str(reads.files()["tokenizer.json"]))

    def model(self, student: Student) -> str:
        """What the student starts from."""
        return student.model.format(encoder=self.encoder, table=self.table)


def measure(bench: Bench, ledger: Ledger, students: Mapping[str, Student]) -> None:
    """Measures whatever the ledger does not have.

    Args:
        bench: what is needed for it.
        ledger: where the figures go.
        students: by name.
    """
    machine = f"{platform.machine()}, 1 thread, torch {torch.__version__}"
    ledger.once("machine", of={}, measure=lambda: {"name": machine})
    ledger.once("texts", of={}, measure=partial(counts, bench.known))
    ledger.once("teacher", of={"length": LENGTH}, measure=lambda: figures(bench.asked(), bench.known))
    ledger.once("speed", of={"students": [*students]}, measure=partial(speed, bench, students))
    bench.fill()
    for name, student in students.items():
        ledger.once("untrained", name, of={"model": student.model}, measure=partial(begun, bench, student))
        budget = {"model": student.model, "steps": student.steps, "lr": student.lr}
        for seed in range(student.seeds):
            for method, objective in METHODS.items():
                out = bench.runs / slug(name) / f"{slug(method)}-{seed}"
                found = ledger.once(
                    "students",
                    name,
                    method,
                    str(seed),
                    of={"objective": objective, **budget},
                    measure=partial(learned, bench, student, objective, seed, out),
                )
                print(f"{name} {method} {seed}: {found}", flush=True)


def begun(bench: Bench, student: Student) -> dict[str, float]:
    """The figures of a student before training."""
    return figures(bench.untrained(student), bench.known)


def learned(bench: Bench, student: Student, objective: str, seed: int, out: Path) -> dict[str, float]:
    """The figures of a student after it."""
    return figures(bench.trained(student, objective, seed, out), bench.known)


def slug(name: str) -> str:
    """The name of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")


def figures(encoder: Encoder, known: Collection) -> dict[str, float]:
    """What is reported of an encoder: quality in %, parameters, numbers of an embedding."""
    return {
        **quality(encoder, known),
        "parameters": models.count_parameters(encoder.network),
        "dimensions": encoder.encode(["a"]).shape[1],
    }


def counts(known: Collection) -> dict[str, int]:
    """How many texts there are of each kind."""
    return {
        "documents": len(known.documents),
        **{f"{which} queries": len(queries.texts) for which, queries in known.queries.items()},
        "sentences": len(known.sentences),
        **{f"{which} pairs": len(pairs.scores) for which, pairs in known.pairs.items()},
    }


def speed(bench: Bench, students: Mapping[str, Student]) -> dict[str, Any]:
    """The teacher and the students in turn, on all queries of Cranfield."""
    encoders = {"teacher": bench.asked()}
    encoders |= {name: bench.untrained(student) for name, student in students.items()}
    queries = [text for each in bench.known.queries.values() for text in each.texts]
    return {"encoders": speeds(encoders, queries)}


def budgets(bench: Bench, ledger: Ledger, students: Mapping[str, Student]) -> None:
    """Measures what `cosine` reaches on the validation queries with the budgets that are tried."""
    for name, student in students.items():
        for steps, lr in student.tried:
            found = ledger.once(
                "budgets",
                name,
                f"{steps} steps, rate {lr:g}",
                of={"model": student.model, "steps": steps, "lr": lr},
                measure=partial(tried, bench, name, replace(student, steps=steps, lr=lr)),
            )
            print(f"{name}, {steps} steps, rate {lr:g}: {found}", flush=True)


def tried(bench: Bench, name: str, student: Student) -> dict[str, float]:
    """The figure of one budget."""
    out = bench.runs / "budgets" / f"{slug(name)}-{student.steps}-{student.lr:g}"
    encoder, known = bench.trained(student, METHODS["cosine"], 0, out), bench.known
    found = ndcg(encoder, encoder.all(known.documents), known.numbers, known.queries["validation"])
    return {"ndcg10_validation": 100 * found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", type=Path, required=True, help="folder of the teacher")
    parser.add_argument("--budgets", action="store_true", help="compare budgets on the validation queries")
    parser.add_argument("--tiny", action="store_true", help="a few texts, 2 steps and 1 seed")
    parser.add_argument("--runs", type=Path, default=Path("runs/embeddings"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    students, place = STUDENTS, HERE
    if arguments.tiny:
        students = {
            name: replace(each, steps=2, seeds=1, tried=((1, each.lr), (2, each.lr)))
            for name, each in STUDENTS.items()
        }
        arguments.runs = place = arguments.runs / "tiny"
    bench = Bench(arguments.encoder, arguments.shared, arguments.runs, tiny=arguments.tiny)
    ledger = Ledger(place / "results.json")
    if arguments.budgets:
        budgets(bench, ledger, students)
    else:
        measure(bench, ledger, students)
    write_page(place)


if __name__ == "__main__":
    main()
