"""limbeck beside trl's `GKDTrainer` and the `Trainer` of transformers: speed and memory of a step.

    python -m benchmarks.language.peers [--shared DIR] [--tiny]

One small Llama learns from another on blocks of Tiny Shakespeare, from the same random weights, on the same
batches, by AdamW in float32 on one thread: the labels alone, the teacher's answers to the data by the
Jensen-Shannon divergence, and its answers to text that the student has written. Gradient checkpointing, which
trl turns on by default, is off. A step is what each package takes for one: losses, gradients, and the
optimizer. In one process the contenders take turns, step by step; peaks of memory are those of a process of
its own for each. `make bench-language-peers` brings trl.
Figures go to peers.json beside this file, and into its README; what is there is not measured again. `--tiny`
prints them alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from benchmarks.language.memory import HERE, alternating
from benchmarks.language.readme import readme
from benchmarks.ledger import Ledger
from benchmarks.speed import ROOT
from benchmarks.speed.machine import describe
from benchmarks.speed.memory import peak_of_process
from limbeck.config import make_config
from limbeck.data import Loader
from limbeck.data.language.tokenizer import learned
from limbeck.files import write_text
from limbeck.optimization import Adam
from limbeck.outputs import named
from limbeck.runs import job

KD = 'kd(temperature=1, divergence="jsd")'
BEGINNING, LR = 16, 1e-3
"""Tokens that are given of a text that is written, and the learning rate."""


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        words: of the vocabulary.
        teacher, student: width, layers and heads.
        batch: blocks of a step.
        block: tokens of a block.
        length: tokens that are written after each beginning.
        rounds: timed steps of each contender.
    """

    words: int
    teacher: tuple[int, int, int]
    student: tuple[int, int, int]
    batch: int
    block: int
    length: int
    rounds: int


FULL = Size(8192, (256, 6, 4), (128, 4, 4), 8, 128, 64, 7)
TINY = Size(512, (32, 1, 2), (16, 1, 2), 2, 32, 4, 1)

Step = Callable[[], float]
"""Takes one step and gives the loss before it."""


@dataclass(frozen=True)
class Setting:
    """The folder with the networks, and what all contenders are given."""

    folder: Path
    size: Size

    @property
    def data(self) -> str:
        """The blocks, in the notation."""
        return f'language(path="{self.folder / "texts.txt"}", block={self.size.block})'

    @property
    def batch(self) -> dict[str, Tensor]:
        """The one batch of all steps, as transformers takes it."""
        whole: dict[str, Tensor] = torch.load(self.folder / "batch.pt", weights_only=True)
        return whole


def prepare(folder: Path, shared: Path, size: Size) -> Setting:
    """Writes texts, both networks, and the batch."""
    setting = Setting(folder, size)
    text = (shared / "language" / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    (folder / "texts.txt").write_text(text, encoding="utf-8")
    reads = learned([text], size.words)
    for seed, (name, (width, layers, heads)) in enumerate(
        {"teacher": size.teacher, "student": size.student}.items()
    ):
        torch.manual_seed(seed)
        config = transformers.LlamaConfig(
            vocab_size=len(reads.tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=256,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
        network: Any = transformers.LlamaForCausalLM(config)
        network.save_pretrained(folder / name)
        reads.save(folder / name)
    made = job.prepare(make_config(None, settings_of(setting, "ce", None)))
    first = next(iter(Loader(made.split, size.batch, seed=0)))
    inputs = named(first.inputs)
    assert first.targets is not None
    ids = torch.cat([inputs["input_ids"], first.targets[:, -1:]], 1)
    mask = torch.ones_like(ids)
    rows = {"input_ids": ids, "attention_mask": mask, "labels": ids.clone()}
    beginnings = {"prompts": ids[:, :BEGINNING], "prompt_attention_mask": mask[:, :BEGINNING]}
    torch.save({**rows, **beginnings}, folder / "batch.pt")
    return setting


def settings_of(setting: Setting, objective: str, cache: str | None) -> dict[str, Any]:
    """The config of a run of limbeck."""
    teacher = {"model": f"hf:{setting.folder / 'teacher'}", "cache": cache, "trust": True}
    return {
        "data.name": setting.data,
        "student": f"hf:{setting.folder / 'student'}",
        "objective": objective,
        "training.precision": "fp32",
        **({} if objective == "ce" else {"teacher": teacher}),
    }


def by_limbeck(setting: Setting, objective: str, cache: str | None = None) -> Step:
    """Steps of limbeck."""
    made = job.prepare(make_config(None, settings_of(setting, objective, cache)))
    distiller = made.distiller
    batch = next(iter(Loader(made.split, setting.size.batch, seed=0)))
    optimizer = distiller.optimizer(Adam(name="adamw", lr=LR))
    steps: Iterator[int] = iter(range(1 << 20))

    def step() -> float:
        distiller.train().progress(next(steps), 0, 0.0)
        losses = distiller(batch)
        losses.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(losses.total.detach())

    return step


def by_transformers(setting: Setting) -> Step:
    """Steps of fine-tuning by the trainer of transformers."""
    arguments = transformers.TrainingArguments(
        output_dir=str(setting.folder / "trainer"), use_cpu=True, report_to=[], learning_rate=LR
    )
    student = transformers.AutoModelForCausalLM.from_pretrained(setting.folder / "student")
    batch = {name: setting.batch[name] for name in ("input_ids", "attention_mask", "labels")}
    return _steps(transformers.Trainer(model=student, args=arguments), batch)


def by_trl(setting: Setting, share: float) -> Step:
    """Steps of trl's trainer for GKD, a share of them on text of the student."""
    from datasets import Dataset
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    arguments = GKDConfig(
        output_dir=str(setting.folder / "gkd"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        learning_rate=LR,
        lmbda=share,
        beta=0.5,
        temperature=1.0,
        max_new_tokens=setting.size.length,
    )
    student, teacher = (
        transformers.AutoModelForCausalLM.from_pretrained(setting.folder / name)
        for name in ("student", "teacher")
    )
    trainer = GKDTrainer(
        model=student,
        teacher_model=teacher,
        args=arguments,
        data_collator=list,
        train_dataset=Dataset.from_dict({"input_ids": setting.batch["input_ids"].tolist()}),
        processing_class=transformers.AutoTokenizer.from_pretrained(setting.folder / "student"),
    )
    return _steps(trainer, setting.batch)


def _steps(trainer: Any, batch: Mapping[str, Tensor]) -> Step:
    """Steps of a trainer of transformers on one batch."""
    optimizer = trainer.create_optimizer()
    tokens = (batch["labels"][:, 1:] != -100).sum()

    def step() -> float:
        trainer.model.train()
        loss = trainer.training_step(trainer.model, dict(batch), num_items_in_batch=tokens)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    return step


WRITTEN = ("limbeck, on-policy", "trl, on-policy")
"""Contenders whose tokens are those that the student writes."""


def contenders(setting: Setting) -> dict[str, Callable[[], Step]]:
    """What makes the steps of each, by name: package and what is learned from."""
    length = setting.size.length
    return {
        "transformers, labels": partial(by_transformers, setting),
        "limbeck, labels": partial(by_limbeck, setting, "ce"),
        "trl, data": partial(by_trl, setting, 0.0),
        "limbeck, data": partial(by_limbeck, setting, KD),
        "limbeck, data, cached": partial(by_limbeck, setting, KD, "logits"),
        "trl, on-policy": partial(by_trl, setting, 1.0),
        "limbeck, on-policy": partial(
            by_limbeck, setting, f"on_policy({KD}, length={length}, beginning={BEGINNING})"
        ),
    }


def peaks(make: Callable[[], Step]) -> dict[str, int]:
    """Bytes that this process has at most, and how many more in a step than between two."""
    step = make()
    step()
    process = peak_of_process()
    with Path("/proc/self/clear_refs").open("w", encoding="ascii") as file:
        file.write("5")  # the peak so far is forgotten
    before = peak_of_process()
    for _ in range(2):
        step()
    found = peak_of_process()
    return {"process": max(process, found), "step": found - before}


def measure(folder: Path, shared: Path, size: Size, command: list[str]) -> dict[str, Any]:
    """Losses of the first steps, seconds in turn, and peaks of processes."""
    setting = prepare(folder, shared, size)
    made = {name: make() for name, make in contenders(setting).items()}
    losses = {name: step() for name, step in made.items()}
    seconds = alternating(made, size.rounds)
    environment = {
        **os.environ,
        **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), "65536"),
    }
    memory = {
        name: json.loads(
            subprocess.run(
                [*command, "--once", name, "--folder", str(folder)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=environment,  # what is freed goes back to the system at once
            ).stdout.splitlines()[-1]
        )
        for name in made
    }
    read, written = size.batch * (size.block - 1), size.batch * size.length
    return {
        "machine": describe("cpu"),
        "versions": {name: version(name) for name in ("transformers", "trl")},
        "parameters": {
            name: sum(
                each.numel()
                for each in transformers.AutoModelForCausalLM.from_pretrained(folder / name).parameters()
            )
            for name in ("teacher", "student")
        },
        "losses": losses,
        "seconds": seconds,
        "tokens": {name: written if name in WRITTEN else read for name in made},
        "peaks": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    parser.add_argument(
        "--tiny", action="store_true", help="small networks and one round, to see that it runs"
    )
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size = TINY if arguments.tiny else FULL
    if arguments.once:
        os.environ["LIMBECK_CACHE"] = str(arguments.folder / "cache")
        print(json.dumps(peaks(contenders(Setting(arguments.folder, size))[arguments.once])))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIMBECK_CACHE"] = str(Path(folder) / "cache")
        place = Path(folder) if arguments.tiny else HERE
        ledger = Ledger(place / "peers.json")
        command = [sys.executable, "-m", "benchmarks.language.peers", *(["--tiny"] if arguments.tiny else [])]
        found = ledger.once(
            "step",
            of={"divergence": KD, **vars(size)},
            measure=partial(measure, Path(folder), arguments.shared, size, command),
        )
        print(json.dumps(found, indent=1), flush=True)
        results, memory = (Ledger(place / f"{name}.json").found for name in ("results", "memory"))
        write_text(place / "README.md", readme(results, memory, ledger.found))


if __name__ == "__main__":
    main()
