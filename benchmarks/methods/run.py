"""Every method of the table on a small real task, and the best of them on a harder one.

    python -m benchmarks.methods.run [TASK ...] [--budgets] [--runs DIR] [--shared DIR]

`digits`: the student sees 100 labeled scans of handwritten digits. Every method is run by its own recipe, MGD
around the hosts of its paper, and what needs other teachers with these. `cifar20`: 4,000 photographs of
CIFAR-100 in its 20 superclasses, for the ten methods that were best on the validation split of the digits and
the three papers that limbeck began with. `--budgets` prints the student alone on the validation split for
several numbers of epochs, by which the budget was picked. A run that is finished is not repeated, so the
command may be stopped and started again. It ends by writing results.json and README.md beside this file, from
all finished runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import limbeck
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
REFERENCE = {"training.precision": "fp32", "training.memory_format": "contiguous"}  # on every machine


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
        contenders: a function that gives those who take part, by name.
    """

    source: Callable[[Path], Source]
    teacher_data: Callable[[Path], Source]
    student: str
    teachers: Mapping[str, str]
    epochs: int
    teacher_epochs: int
    batch_size: int
    tried: tuple[int, ...]
    contenders: Callable[[], Mapping[str, contenders.Contender]]


def recorded() -> dict[str, Any]:
    """The figures that are there already, by task."""
    file = HERE / "results.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: figures for name, figures in found.items() if name in TASKS}


def few_digits(shared: Path) -> Source:
    """The digits with 100 training scans."""
    source = data.load("digits(labeled=100)")
    return replace(source, train=source.train.labeled(), name="digits, 100 training scans")


def cifar20(shared: Path) -> Source:
    """4,000 training photographs of CIFAR-100 by superclass, validation, and the test split."""
    return data.load('cifar100(label="coarse_label", train=4000)', shared / "cifar100")


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
        contenders=lambda: contenders.ALL,
    ),
    "cifar20": Task(
        cifar20,
        cifar20,
        student="cnn(channels=[8, 16, 32])",
        teachers={"teacher": "cnn(channels=[32, 64, 128], depth=2)"},
        epochs=120,
        teacher_epochs=60,
        batch_size=64,
        tried=(30, 60, 120, 240),
        contenders=lambda: contenders.best(recorded()["digits"]),
    ),
}


def common(task: Task, source: Source, epochs: int) -> dict[str, Any]:
    """What every run of a task is given."""
    return {
        "data": source,
        "epochs": epochs,
        "batch_size": task.batch_size,
        "settings": {"training.trackers": [], "training.checkpoint_every": 1000, **REFERENCE},
    }


def trained_teachers(name: str, shared: Path, runs: Path) -> dict[str, Run]:
    """The teachers of a task by name, trained where they are not there yet; they keep their checkpoints."""
    task = TASKS[name]
    given = common(task, task.teacher_data(shared), task.teacher_epochs)
    given["settings"] = {**given["settings"], "training.keep_every": 10}
    made = {each: Run(runs / name / each) for each in task.teachers}
    for each, run in made.items():
        if not run.finished:
            limbeck.train(model=task.teachers[each], out=run.path, overwrite=True, display=False, **given)
    return made


def taught_by(kind: str, name: str, shared: Path, runs: Path, teachers: Mapping[str, Run]) -> Any:
    """What `Contender.teacher` names, made where it is not there yet."""
    task, teacher = TASKS[name], teachers["teacher"]
    if kind == "both":
        return teachers
    if kind == "schedule":
        return f'checkpoints("{teacher.path}")'
    if kind == "teacher":
        return teacher
    made = Run(runs / name / kind)
    given = {**common(task, task.teacher_data(shared), task.teacher_epochs), "out": made.path}
    if not made.finished and kind == "chain":
        limbeck.distill(
            student=task.teachers["assistant"],
            teacher=teacher,
            objective=contenders.KD,
            overwrite=True,
            display=False,
            **given,
        )
    elif not made.finished:
        limbeck.train(
            model=task.teachers["teacher"], friendly_to=task.student, overwrite=True, display=False, **given
        )
    return made


def grids(name: str, shared: Path, runs: Path, teachers: Mapping[str, Run]) -> Iterator[Grid]:
    """The runs of a task: a grid for each choice of teachers."""
    task = TASKS[name]
    given = common(task, task.source(shared), task.epochs)
    chosen = task.contenders()
    for kind in dict.fromkeys(each.teacher for each in chosen.values()):
        objectives = {label: each.objective for label, each in chosen.items() if each.teacher == kind}
        teacher = taught_by(kind, name, shared, runs, teachers)
        yield Grid(runs / name / f"by-{kind}", objectives, SEEDS, task.student, teacher, given)


def cost(
    task: Task, source: Source, contender: contenders.Contender, teachers: Mapping[str, Run]
) -> dict[str, Any]:
    """What a method adds: time of a step over one of `ce` alternating with it, trained parameters, reads."""
    loader = Loader(source.train, task.batch_size, views=source.views, seed=0)
    batches = [*loader][:2]
    objective, reads = contender.objective, parse(contender.objective).all_reads
    torch.manual_seed(0)
    student = models.build(task.student, example=source.example(), num_classes=source.task.width)

    def distiller(text: str, given: Any) -> Distiller:
        made = Distiller(copy.deepcopy(student), given, text, example=source.example(), data=loader)
        limbeck.prepare(made, batches, display=False, device="cpu")
        return made.train()

    named = {name: limbeck.load(run) for name, run in teachers.items()} if reads.teacher else {}
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
    return {
        "step_over_ce": round(theirs / ours, 2),
        "parameters": sum(p.numel() for p in sides[1].objective.parameters() if p.requires_grad),
        "reads": list(reads.teacher),
    }


def tries(name: str, shared: Path, runs: Path) -> dict[int, list[float]]:
    """Validation accuracy of the student alone by number of epochs, three seeds."""
    task, source, found = TASKS[name], TASKS[name].source(shared), {}
    for epochs in task.tried:
        given = common(task, source, epochs)
        runs_of = Grid(runs / name / f"budget-{epochs}", {"ce": "ce"}, range(3), task.student, None, given)
        found[epochs] = [100 * run.result.metrics.on("validation")["top1"] for _, _, run in runs_of.run()]
        print(f"{name}, {epochs} epochs: validation {found[epochs]}", flush=True)
    return found


def measure(name: str, shared: Path, runs: Path) -> dict[str, Any]:
    """Runs whatever of a task is not finished, and gathers its figures."""
    task, source = TASKS[name], TASKS[name].source(shared)
    teachers = trained_teachers(name, shared, runs)
    top1: dict[str, dict[str, dict[int, float]]] = {"test": {}, "validation": {}}
    budgets = tries(name, shared, runs)
    done: Run | None = None
    for grid in grids(name, shared, runs, teachers):
        for contender, seed, run in grid.run():
            done = run
            for split, by_contender in top1.items():
                by_contender.setdefault(contender, {})[seed] = 100 * run.result.metrics.on(split)["top1"]
            print(f"{name} {contender} {seed}: {top1['test'][contender][seed]:.2f} %", flush=True)
    assert done is not None
    spent = {}
    chosen = task.contenders()
    for contender, each in chosen.items():
        spent[contender] = cost(task, source, each, teachers)
        print(f"{name} {contender}: {spent[contender]}", flush=True)
    return {
        "data": done.result.data.model_dump(),
        "student": done.result.student.model_dump(),
        "teachers": {
            each: {**run.result.student.model_dump(), **run.result.metrics.on("test")}
            for each, run in teachers.items()
        },
        "epochs": task.epochs,
        "budgets": budgets,
        "top1": {split: {each: by[each] for each in chosen} for split, by in top1.items()},
        "cost": spent,
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
    for name in arguments.tasks or TASKS:
        if arguments.budgets:
            tries(name, arguments.shared, arguments.runs)
            continue
        found = measure(name, arguments.shared, arguments.runs)
        results = {**recorded(), name: json.loads(json.dumps(found))}
        write_text(HERE / "results.json", json.dumps(results, indent=1) + "\n")
        write_text(HERE / "README.md", readme(results))
        if "digits" in results:
            page = HERE.parents[1] / "docs" / "methods.md"
            write_text(page, guide(page.read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    main()
