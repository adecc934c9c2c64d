"""Every method of the table on a small real task, and the best of them on a harder one.

    python -m benchmarks.methods.run [TASK ...] [--budgets] [--runs DIR] [--shared DIR]

`digits`: the student sees 100 labeled scans of handwritten digits. Every method is run by its own recipe,
MGD around the hosts of its paper, and what needs other teachers with these. `cifar20`: 2,000 photographs of
CIFAR-100 in its 20 superclasses, with a teacher that has seen 20,000, for the ten methods that were best on
the validation split of the digits and the three papers that limbeck began with. `--budgets` prints the
student alone on the validation split for several numbers of epochs, by which the budget was picked. Each
figure is written to results.json beside this file as it is measured and is not measured again, so the
command may be stopped and started again, on another machine too. It ends by writing README.md.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

import limbeck
from benchmarks.ledger import Ledger
from benchmarks.methods import contenders
from benchmarks.methods.readme import guide, readme
from limbeck import Distiller, data, models
from limbeck.data import Loader, Source
from limbeck.files import write_text
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.runs import Run
from limbeck.studies.grid import Grid

HERE = Path(__file__).parent
SEEDS = range(5)
REPETITIONS, STEPS = 7, 8


@dataclass(frozen=True)
class Task:
    """A data set with its networks, the budget and who takes part.

    Attributes:
        source: what the student learns from.
        teacher_data: what the teachers learn from.
        student: the network.
        teachers: networks by name, from small to large; the last is "the" teacher.
        epochs: number of epochs of the student.
        teacher_epochs: number of epochs of the teachers.
        batch_size: of all.
        tried: the numbers of epochs that `--budgets` compares.
        memory_format: of all networks, on every machine.
        contenders: a function of the figures of all tasks that gives those who take part, by name.
    """

    source: Callable[[Path], Source]
    teacher_data: Callable[[Path], Source]
    student: str
    teachers: Mapping[str, str]
    epochs: int
    teacher_epochs: int
    batch_size: int
    tried: tuple[int, ...]
    contenders: Callable[[Mapping[str, Any]], Mapping[str, contenders.Contender]]
    memory_format: str = "contiguous"


def few_digits(shared: Path) -> Source:
    """The digits with 100 training scans."""
    source = data.load("digits(labeled=100)")
    return replace(source, train=source.train.labeled(), name="digits, 100 training scans")


def cifar20(shared: Path, train: int = 2000) -> Source:
    """Training photographs of CIFAR-100 by superclass, validation, and the test split."""
    return data.load(f'cifar100(label="coarse_label", train={train}, validation=0.03)', shared / "cifar100")


TASKS = {
    "digits": Task(
        few_digits,
        lambda shared: data.load("digits"),
        student="resnet(channels=[8, 16, 32])",
        teachers={
            "assistant": "resnet(channels=[8, 16, 32], blocks=2)",
            "teacher": "resnet(channels=[8, 16, 32], blocks=3)",
        },
        epochs=200,
        teacher_epochs=60,
        batch_size=50,
        tried=(50, 100, 200, 400),
        contenders=lambda found: contenders.ALL,
    ),
    "cifar20": Task(
        cifar20,
        partial(cifar20, train=20_000),
        student="cnn(channels=[8, 16, 32])",
        teachers={"teacher": "cnn(channels=[16, 32, 64], depth=2)"},
        epochs=100,
        teacher_epochs=30,
        batch_size=64,
        tried=(50, 100, 200),
        contenders=contenders.best,
        memory_format="channels_last",
    ),
}


def common(task: Task, source: Source, epochs: int) -> dict[str, Any]:
    """What every run of a task is given."""
    return {
        "data": source,
        "epochs": epochs,
        "batch_size": task.batch_size,
        "settings": {
            "training.trackers": [],
            "training.checkpoint_every": 1000,
            "training.precision": "fp32",
            "training.memory_format": task.memory_format,
        },
    }


@dataclass(frozen=True)
class Teachers:
    """The teachers of a task, each trained when it is asked for first.

    Attributes:
        name: name of the task.
        shared: folder of data files.
        runs: folder of the runs.
    """

    name: str
    shared: Path
    runs: Path

    @cached_property
    def given(self) -> dict[str, Any]:
        """What all their runs are given."""
        task = TASKS[self.name]
        return common(task, task.teacher_data(self.shared), task.teacher_epochs)

    @cached_property
    def plain(self) -> dict[str, Run]:
        """Those that learn from the labels alone, by name; they keep their checkpoints."""
        given = {**self.given, "settings": {**self.given["settings"], "training.keep_every": 10}}
        made = {each: Run(self.runs / self.name / each) for each in TASKS[self.name].teachers}
        for each, run in made.items():
            if not run.finished:
                model = TASKS[self.name].teachers[each]
                limbeck.train(model=model, out=run.path, resume="auto", display=False, **given)
        return made

    def of(self, kind: str) -> Any:
        """What `Contender.teacher` names."""
        task, teacher = TASKS[self.name], self.plain["teacher"]
        if kind == "both":
            return self.plain
        if kind == "schedule":
            return f'checkpoints("{teacher.path}")'
        if kind == "teacher":
            return teacher
        made = Run(self.runs / self.name / kind)
        if kind == "twin":
            if not made.finished:
                alone = common(task, task.source(self.shared), task.epochs)
                limbeck.train(
                    model=task.student, seed=len(SEEDS), out=made.path, resume="auto", display=False, **alone
                )
            return made
        given = {**self.given, "out": made.path, "resume": "auto", "display": False}
        if not made.finished and kind == "chain":
            assistant = task.teachers["assistant"]
            limbeck.distill(student=assistant, teacher=teacher, objective=contenders.KD, **given)
        elif not made.finished:
            limbeck.train(model=task.teachers["teacher"], friendly_to=task.student, **given)
        return made


def cost(task: Task, source: Source, contender: contenders.Contender, teachers: Teachers) -> dict[str, Any]:
    """What a method adds: time of a step over one of `ce` alternating with it, memory, reads.

    The memory is that of its parts, with gradient and momentum of those that learn.
    """
    loader = Loader(source.train, task.batch_size, views=source.views, seed=0)
    batches = [*loader][:2]
    objective, reads = contender.objective, parse(contender.objective).all_reads
    torch.manual_seed(0)
    student = models.build(task.student, example=source.example(), num_classes=source.task.width)

    def distiller(text: str, given: Any) -> Distiller:
        made = Distiller(copy.deepcopy(student), given, text, example=source.example(), data=loader)
        limbeck.prepare(made, batches, display=False, device="cpu")
        return made.train()

    named = {name: limbeck.load(run) for name, run in teachers.plain.items()} if reads.teacher else {}
    given = named if contender.teacher == "both" else named.get("teacher")
    sides = [distiller("ce", None), distiller(objective, given)]
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
    parts = sides[1].objective
    learned = [each for each in parts.parameters() if each.requires_grad]
    return {
        "step_over_ce": round(theirs / ours, 2),
        "parameters": sum(p.numel() for p in learned),
        "bytes": sum(each.nbytes for each in (*parts.parameters(), *parts.buffers(), *learned, *learned)),
        "reads": list(
            dict.fromkeys(field for asked, _ in sides[1].asked for its in asked.values() for field in its)
        ),
    }


def tries(name: str, shared: Path, runs: Path, ledger: Ledger) -> None:
    """Validation accuracy of the student alone by number of epochs, three seeds."""
    task, source = TASKS[name], TASKS[name].source(shared)
    for epochs, seed in itertools.product(task.tried, range(3)):
        folder, given = runs / name / f"budget-{epochs}", common(task, source, epochs)
        grid = Grid(folder, {"ce": "ce"}, range(3), task.student, None, given)
        kept = ledger.once(
            name,
            "budgets",
            str(epochs),
            str(seed),
            of={"student": task.student},
            measure=partial(trial, grid, seed),
        )
        print(f"{name}, {epochs} epochs, seed {seed}: {kept['validation']:.2f} %", flush=True)


def trial(grid: Grid, seed: int) -> dict[str, float]:
    """Top-1 in % by split of the student alone."""
    return top1(grid.cell("ce", seed))


def top1(run: Run) -> dict[str, float]:
    """Top-1 in % by split."""
    return {split: 100 * run.result.metrics.on(split)["top1"] for split in ("validation", "test")}


def measure(name: str, shared: Path, runs: Path, ledger: Ledger) -> None:
    """Measures whatever of a task is not in the ledger yet."""
    task, source, teachers = TASKS[name], TASKS[name].source(shared), Teachers(name, shared, runs)
    chosen = task.contenders(ledger.found)
    ledger.once(name, "facts", of=budget(task), measure=lambda: facts(task, source, teachers))
    tries(name, shared, runs, ledger)
    for seed, (contender, each) in itertools.product(SEEDS, chosen.items()):
        of = {**budget(task), "objective": each.objective, "epochs": each.epochs or task.epochs}
        cell = partial(trained, task, source, teachers, contender, each, seed)
        kept = ledger.once(name, "runs", contender, str(seed), of=of, measure=cell)
        print(f"{name} {contender} {seed}: {kept['test']:.2f} %", flush=True)
    for contender, each in chosen.items():
        of = {"objective": each.objective, "figures": ["step_over_ce", "parameters", "bytes", "reads"]}
        spent = ledger.once(
            name, "cost", contender, of=of, measure=partial(cost, task, source, each, teachers)
        )
        print(f"{name} {contender}: {spent}", flush=True)


def trained(
    task: Task, source: Source, teachers: Teachers, name: str, contender: contenders.Contender, seed: int
) -> dict[str, float]:
    """Top-1 in % by split of one run."""
    taught = teachers.of(contender.teacher) if parse(contender.objective).all_reads.teacher else None
    folder = teachers.runs / teachers.name / f"by-{contender.teacher}"
    given = common(task, source, contender.epochs or task.epochs)
    grid = Grid(folder, {name: contender.objective}, SEEDS, task.student, taught, given)
    return top1(grid.cell(name, seed))


def budget(task: Task) -> dict[str, Any]:
    """The settings that all figures of a task depend on."""
    return {
        "student": task.student,
        "teachers": task.teachers,
        "epochs": task.epochs,
        "batch_size": task.batch_size,
    }


def facts(task: Task, source: Source, teachers: Teachers) -> dict[str, Any]:
    """What the page says of a task: its data, the student and the teachers."""
    student = models.build(task.student, example=source.example(), num_classes=source.task.width)
    return {
        "data": {"name": source.name, "train": len(source.train)},
        "parameters": sum(each.numel() for each in student.parameters()),
        "teachers": {
            each: {**run.result.student.model_dump(), **run.result.metrics.on("test")}
            for each, run in teachers.plain.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS], help="which; all if left out")
    parser.add_argument("--budgets", action="store_true", help="the tries of the epochs instead")
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ledger = Ledger(HERE / "results.json")
    for name in arguments.tasks or TASKS:
        (tries if arguments.budgets else measure)(name, arguments.shared, arguments.runs, ledger)
    if not arguments.budgets:
        write_text(HERE / "README.md", readme(ledger.found))
        page = HERE.parents[1] / "docs" / "methods.md"
        write_text(page, guide(page.read_text(encoding="utf-8"), ledger.found))


if __name__ == "__main__":
    main()
