"""limbeck beside sentence-transformers' own trainer and model2vec: quality, time and memory.

    python -m benchmarks.embeddings.peers --encoder FOLDER [--tiny] [--runs DIR] [--shared DIR]

Two of MiniLM's layers learn the teacher's embeddings by their mean squared error, from the same weights, on
the same texts, in as many steps with the same rate, schedule and batch size: by limbeck, and by the trainer
of sentence-transformers with `MSELoss`. A static table of 256 numbers a token is made by limbeck's `static`
and by model2vec's `distill`. Each has a process of its own, and the teacher embeds the texts inside of what
is timed. `make bench-embeddings-peers` brings the packages. It writes peers.json and README.md beside this
file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

from benchmarks.embeddings.contenders import BATCH, LENGTH, METHODS, STUDENTS
from benchmarks.embeddings.encoders import quality
from benchmarks.embeddings.readme import write_page
from benchmarks.embeddings.run import HERE, Bench
from benchmarks.ledger import Ledger
from limbeck.config import StudentConfig
from limbeck.runs import distill, networks
from limbeck.runs.exporting import export

DIM = 256
SEEDS = 3


def limbeck_layers(bench: Bench, steps: int, seed: int, out: Path) -> None:
    """Two layers by limbeck, written as a folder of sentence-transformers."""
    run = distill(
        student=f"hf:{start_of(bench)}",
        teacher=bench.teacher,
        data=f'sentences(path="{bench.texts / "plain.jsonl"}")',
        objective=METHODS["MSE"],
        epochs=1,
        batch_size=BATCH,
        lr=STUDENTS["two layers"].lr,
        seed=seed,
        cache_teacher="embedding",
        out=out.with_suffix(".run"),
        display=False,
        settings={
            "training.trackers": [],
            "training.samples_per_epoch": steps * BATCH,
            "training.optimizer": {"name": "adamw"},
            "training.optimizer.weight_decay": 0.0,
            "training.precision": "fp32",
        },
    )
    export(run, "hf", out)


def sentence_transformers_layers(bench: Bench, steps: int, seed: int, out: Path) -> None:
    """Two layers by the trainer of sentence-transformers."""
    import sentence_transformers as package
    from datasets import Dataset
    from sentence_transformers.losses import MSELoss

    texts = [json.loads(line)["text"] for line in (bench.texts / "plain.jsonl").open(encoding="utf-8")]
    teacher = package.SentenceTransformer(str(bench.encoder), device="cpu")
    teacher.max_seq_length = LENGTH
    student = package.SentenceTransformer(str(start_of(bench)), device="cpu")
    student.max_seq_length = LENGTH
    data = Dataset.from_dict({"sentence": texts, "label": teacher.encode(texts).tolist()})
    arguments = package.SentenceTransformerTrainingArguments(
        output_dir=str(out.with_suffix(".run")),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=STUDENTS["two layers"].lr,
        lr_scheduler_type="cosine",
        weight_decay=0.0,
        seed=seed,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = package.SentenceTransformerTrainer(
        model=student, args=arguments, train_dataset=data, loss=MSELoss(student)
    )
    trainer.train()
    student.save_pretrained(str(out))


def limbeck_table(bench: Bench, steps: int, seed: int, out: Path) -> None:
    """A static table by limbeck."""
    bench.write_table(out, DIM)


def model2vec_table(bench: Bench, steps: int, seed: int, out: Path) -> None:
    """A static table by model2vec."""
    from model2vec.distill import distill as made_of

    made_of(str(bench.encoder), pca_dims=DIM, quantize_to="float32", device="cpu").save_pretrained(str(out))


Make = Callable[[Bench, int, int, Path], None]

CONTENDERS: Mapping[str, tuple[str, str, int, Make]] = {
    "limbeck layers": ("two layers", "limbeck", SEEDS, limbeck_layers),
    "sentence-transformers layers": (
        "two layers",
        "sentence-transformers",
        SEEDS,
        sentence_transformers_layers,
    ),
    "limbeck table": ("static table", "limbeck", 1, limbeck_table),
    "model2vec table": ("static table", "model2vec", 1, model2vec_table),
}
"""Student, package, number of seeds and maker, by name. The tables have nothing random in them."""


def start_of(bench: Bench) -> Path:
    """The folder of the two layers before training, made where it is not there yet."""
    place = bench.runs / "layers"
    if not place.exists():
        config = StudentConfig(model=bench.model(STUDENTS["two layers"]))
        bench.write(networks.student(config, bench.taught, seed=0), config, place)
    return place


def prepare(bench: Bench) -> None:
    """Writes what both tools begin with: the texts, each once, and the two layers."""
    known = bench.known
    texts = dict.fromkeys([*known.queries["train"].texts, *known.documents, *known.sentences])
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (bench.texts / "plain.jsonl").write_text("".join(lines), encoding="utf-8")
    start_of(bench)


def alone(bench: Bench, name: str, steps: int, seed: int, out: Path) -> None:
    """What the process of one contender does; prints its seconds and the peak of its memory in MiB."""
    began = perf_counter()
    CONTENDERS[name][3](bench, steps, seed, out)
    seconds = perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    of_processor, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "processor_seconds": of_processor, "mebibytes": peak}))


def measured(bench: Bench, name: str, seed: int, command: list[str], out: Path) -> dict[str, Any]:
    """The figures of a contender, from a process of its own."""
    with TemporaryDirectory() as cache:  # so that no answer of the teacher is known from another seed
        run = subprocess.run(
            [*command, "--alone", name, "--seed", str(seed)],
            capture_output=True,
            text=True,
            env={**os.environ, "LIMBECK_CACHE": cache},
        )
    if run.returncode:
        sys.exit(f"{name} failed:\n{run.stderr}")
    student, package, _, _ = CONTENDERS[name]
    config = StudentConfig(model=f"hf:{out}(max_length={LENGTH})" if "layers" in name else f"hf:{out}")
    encoder = bench.serving(config, networks.student(config, bench.taught, seed=0))
    found = {**json.loads(run.stdout.splitlines()[-1]), **quality(encoder, bench.known)}
    return {"student": student, "package": f"{package} {version(package)}", **found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", type=Path, required=True, help="folder of the teacher")
    parser.add_argument("--tiny", action="store_true", help="a few texts, 2 steps and 1 seed")
    parser.add_argument("--runs", type=Path, default=Path("runs/embeddings"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    parser.add_argument("--alone", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs: Path = given.runs / "tiny" if given.tiny else given.runs
    bench = Bench(given.encoder, given.shared, runs, tiny=given.tiny)
    steps = 2 if given.tiny else STUDENTS["two layers"].steps

    def out(name: str, seed: int) -> Path:
        return runs / "peers" / f"{name.replace(' ', '-')}-{seed}"

    if given.alone:
        alone(bench, given.alone, steps, given.seed, out(given.alone, given.seed))
        return
    prepare(bench)
    ledger = Ledger((runs if given.tiny else HERE) / "peers.json")
    command = [sys.executable, "-m", "benchmarks.embeddings.peers", *sys.argv[1:]]
    most = 1 if given.tiny else max(seeds for _, _, seeds, _ in CONTENDERS.values())
    for seed in range(most):  # the contenders take turns, as the machine is not always as fast
        for name in (name for name, (_, _, seeds, _) in CONTENDERS.items() if seed < seeds):
            place = out(name, seed)
            made = partial(measured, bench, name, seed, command, place)
            found = ledger.once(name, str(seed), of={"steps": steps}, measure=made)
            print(f"{name} {seed}: {found}", flush=True)
    write_page(ledger.file.parent)


if __name__ == "__main__":
    main()
