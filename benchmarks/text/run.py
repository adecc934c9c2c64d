"""Small text classifiers from a fine-tuned MiniLM, with all labels of Banking77 and with 10 a class.

    python -m benchmarks.text.run [SETTING ...] --encoder FOLDER [--runs DIR] [--shared DIR]

`FOLDER` holds the sentence encoder all-MiniLM-L6-v2 as `save_pretrained` writes it; `make bench-text` brings
it. The teacher is the encoder, fine-tuned on all training questions. `all` has every label; `few` has 10 of
each class, and the other questions without a label, which distillation learns from too. Students: a TextCNN
for every method; two of the encoder's layers, and a transformer from scratch, alone and with KD. MixKD asks
the teacher itself about each mixture and IKD trains a copy of it, which no cache can replace: they get a
TextCNN for 2 epochs with 3 seeds, beside the student alone and KD with as many. "answers" are the teacher's
in a file, as an API gives them: a label, or the log-probabilities of the five likeliest classes. Each figure
is written to results.json beside this file as it is measured and is not measured again, so the command may be
stopped and started again, on another machine too. It ends by writing README.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

import limbeck
from benchmarks.ledger import Ledger
from benchmarks.text.readme import readme
from limbeck import data
from limbeck.data import Source
from limbeck.data.split import pick
from limbeck.files import write_text
from limbeck.objective import parse
from limbeck.outputs import UNLABELED
from limbeck.runs import Run
from limbeck.runs.job_data import uses_unlabeled
from limbeck.studies.grid import Grid

HERE = Path(__file__).parent
SEEDS = range(5)
LABELS = 10
LENGTH = 64
SETTINGS = ("few", "all")
EPOCHS = 6  # of the teacher

KD = "0.1*ce + 0.9*kd(temperature=4)"
ANSWERED = "0.1*ce + 0.9*kd(temperature=1)"
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
    "answers: labels": ANSWERED,
    "answers: 5 log-probabilities": ANSWERED,
}


LIVE = ("MixKD", "IKD")
ANSWERS = tuple(name for name, objective in METHODS.items() if objective == ANSWERED)


@dataclass(frozen=True)
class Student:
    """A network with its budget.

    Attributes:
        model: in the notation; {encoder} is the folder.
        epochs: number of epochs.
        lr: learning rate of AdamW.
        methods: who takes part, by name.
        seeds: of each.
        settings: those in which it takes part.
    """

    model: str
    epochs: int
    lr: float
    methods: tuple[str, ...] = ("alone", "KD")
    seeds: Sequence[int] = range(5)
    settings: tuple[str, ...] = SETTINGS


CNN = "textcnn(dim=64, channels=64)"
STUDENTS = {
    "TextCNN": Student(CNN, 15, 2e-3, tuple(name for name in METHODS if name not in LIVE)),
    "TextCNN, 2 epochs": Student(CNN, 2, 2e-3, ("alone", "KD", *LIVE), range(3), ("few",)),
    "transformer": Student("transformer(dim=64, depth=2, heads=4)", 15, 1e-3),
    "two layers": Student(f"hf:{{encoder}}(layers=2, max_length={LENGTH})", 5, 2e-4),
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


@dataclass(frozen=True)
class Bench:
    """Where everything is.

    Attributes:
        encoder: folder of the sentence encoder.
        shared: folder of data files.
        runs: folder of the runs.
    """

    encoder: Path
    shared: Path
    runs: Path

    @cached_property
    def teacher(self) -> Run:
        """The encoder fine-tuned on all labels, trained where it is not there yet."""
        made = Run(self.runs / "teacher")
        if not made.finished:
            given = common(questions(self.shared, "all"), epochs=EPOCHS, lr=2e-4)
            given |= {"batch_size": 32, "settings": {**given["settings"], "training.checkpoint_every": 1}}
            resume = (made.path / "config.yaml").exists()
            model = f"hf:{self.encoder}(max_length={LENGTH})"
            limbeck.train(model=model, out=made.path, resume=resume, display=False, **given)
        return made

    @cached_property
    def answers(self) -> dict[str, Path]:
        """Files of the teacher's answers about all training questions by the methods that learn from them."""
        logits = self.runs / "logits.jsonl"
        if not logits.exists():
            data = ["--data", f"banking77(max_length={LENGTH})", "--data-dir", str(self.shared / "banking77")]
            cache = self.runs / "answers-cache"
            limbeck_command("cache", "fill", "--teacher", str(self.teacher.path), *data, cache=cache)
            (file,) = cache.glob("teachers/*.answers")
            limbeck_command("cache", "export", file.stem, "--out", str(logits), *data, cache=cache)
        made = {method: self.runs / f"answers-{place}.jsonl" for place, method in enumerate(ANSWERS)}
        lines: dict[str, list[str]] = {method: [] for method in made}
        for row in map(json.loads, logits.read_text(encoding="utf-8").splitlines()):
            known = torch.tensor(list(row["logits"].values()), dtype=torch.float64).log_softmax(0)
            first = known.topk(5).indices.tolist()
            names = list(row["logits"])
            said = [{"label": names[first[0]]}, {"logprobs": {names[i]: float(known[i]) for i in first}}]
            for method, answer in zip(made, said, strict=True):
                lines[method].append(json.dumps({"text": row["text"], **answer}))
        for method, file in made.items():
            write_text(file, "\n".join(lines[method]) + "\n")
        return made

    def trained(self, setting: str, student: str, method: str, seed: int) -> dict[str, Any]:
        """The figures of one run."""
        each, folder = STUDENTS[student], self.runs / setting / student.replace(" ", "-").replace(",", "")
        given: dict[str, Any] = common(questions(self.shared, setting), each.epochs, each.lr)
        taught: Run | Path | None = None
        if method in ANSWERS:
            taught = self.answers[method]
        elif parse(METHODS[method]).all_reads.teacher:
            taught, given = self.teacher, {**given, "cache_teacher": "both"}
        if setting == "few" and not uses_unlabeled(parse(METHODS[method])):
            given["settings"]["training.samples_per_epoch"] = len(given["data"].train)  # equal steps
        model = each.model.format(encoder=self.encoder)
        run = Grid(folder, METHODS, each.seeds, model, taught, given).cell(method, seed)
        return {**figures(run), **(speeds(run, given["data"]) if (method, seed) == ("KD", 0) else {})}


def speeds(run: Run, source: Source) -> dict[str, float | None]:
    """Questions a second in large batches, of student and teacher, which take turns."""
    networks = limbeck.evaluate(run, source, suite="full", device="cpu").networks
    return {f"{role}_throughput": networks[role].cost.throughput for role in ("student", "teacher")}


def limbeck_command(*words: str, cache: Path) -> None:
    """Runs a command of limbeck with a folder of its own for what is cached."""
    command = [sys.executable, "-m", "limbeck", *words]
    subprocess.run(command, check=True, env={**os.environ, "LIMBECK_CACHE": str(cache)})


def measure(setting: str, bench: Bench, ledger: Ledger) -> None:
    """Measures whatever of a setting is not in the ledger yet, by student, method and seed."""
    ledger.once("teacher", of={"epochs": EPOCHS}, measure=lambda: figures(bench.teacher))
    for student, each in STUDENTS.items():
        if setting not in each.settings:
            continue
        for seed, method in itertools.product(each.seeds, each.methods):
            of = {"objective": METHODS[method], "model": each.model, "epochs": each.epochs, "lr": each.lr}
            cell = partial(bench.trained, setting, student, method, seed)
            kept = ledger.once(setting, student, method, str(seed), of=of, measure=cell)
            print(f"{setting} {student} {method} {seed}: {kept}", flush=True)


def figures(run: Run) -> dict[str, float | int | None]:
    """What is reported of a run: accuracy in %, also after half of the epochs, agreement in %, parameters."""
    result = run.result
    trained = [each for each in run.history if each["phase"] == "training"]
    return {
        "top1": 100 * result.metrics.on("test")["top1"],
        "validation": 100 * result.metrics.on("validation")["top1"],
        "halfway": 100 * trained[(len(trained) - 1) // 2]["validation"]["top1"],
        "agreement": None if result.agreement is None else 100 * result.agreement,
        "parameters": result.student.parameters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", choices=[[], *SETTINGS], help="which; both if left out")
    parser.add_argument("--encoder", type=Path, required=True, help="folder of the sentence encoder")
    parser.add_argument("--runs", type=Path, default=Path("runs/text"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ledger = Ledger(HERE / "results.json")
    bench = Bench(arguments.encoder, arguments.shared, arguments.runs)
    for setting in arguments.settings or SETTINGS:
        measure(setting, bench, ledger)
    write_text(HERE / "README.md", readme(ledger.found))


if __name__ == "__main__":
    main()
