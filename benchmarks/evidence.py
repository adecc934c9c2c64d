"""What ships with limbeck of the figures below benchmarks/, and the guide in docs/methods.md.

    python -m benchmarks.evidence

It reads whatever cells are in the files of figures, and writes `src/limbeck/advice/evidence.json`: what each
objective gave beside the student alone on the same seeds, and what a training step costs. Nothing is
estimated: what was not measured is not in it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.language.settings import SETTINGS
from benchmarks.methods import contenders as of_methods
from benchmarks.speed.contest import ratio
from benchmarks.speed.step import OBJECTIVES, reference
from limbeck import tasks
from limbeck.advice.evidence import Cost, Evidence, Finding, Labels
from limbeck.advice.guide import GUIDE
from limbeck.data.kinds import Kind
from limbeck.files import write_text
from limbeck.objective import parse
from limbeck.studies import paired_difference

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "src" / "limbeck" / "advice" / "evidence.json"
PAGE = HERE.parent / "docs" / "methods.md"
BEGIN, END = "<!-- printed by make evidence; do not edit -->", "<!-- end of the guide -->"

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Setting:
    """Data of a benchmark.

    Attributes:
        benchmark: folder.
        title: data and student, for people.
        samples: number of training samples; None where there is no such number.
        kind: of the inputs.
        task: name of the task.
        labels: which samples have one.
    """

    benchmark: str
    title: str
    samples: int | None
    kind: Kind = "image"
    task: str = "classification"
    labels: Labels = "all"

    def finding(self, objective: str, values: BySeed, alone: BySeed, how: str = "") -> Finding | None:
        """What was measured of an objective; None where no seed is in both.

        Args:
            objective: in the notation.
            values: the task's first metric by seed, as people are shown it.
            alone: the same of the student alone.
            how: how its teacher teaches.
        """
        both = values.keys() & alone.keys()
        if not both:
            return None
        metric = tasks.named(self.task).of_width(2).primary
        difference = paired_difference(values, alone)
        interval = difference.interval
        return Finding.model_validate(
            {
                "benchmark": self.benchmark,
                "setting": self.title,
                "objective": str(parse(objective)),
                "how": how,
                "task": self.task,
                "kind": self.kind,
                "labels": self.labels,
                "samples": self.samples,
                "metric": metric.label,
                "unit": metric.unit,
                "higher": metric.higher,
                "value": round(statistics.fmean(values[seed] for seed in both), 3),
                "alone": round(statistics.fmean(alone[seed] for seed in both), 3),
                "pairs": difference.pairs,
                "difference": round(difference.mean, 3),
                "interval": None if interval is None else [round(each, 3) for each in interval],
            }
        )


def collected(folder: Path = HERE) -> Evidence:
    """All that is in the files of figures.

    Args:
        folder: benchmarks/.
    """
    findings = [
        found
        for read, file in READERS.items()
        if (folder / file).exists()
        for found in read(json.loads((folder / file).read_text(encoding="utf-8")))
        if found is not None
    ]
    costs: list[Cost] = []
    if (file := folder / "methods" / "results.json").exists():
        costs += _costs_of_methods(json.loads(file.read_text(encoding="utf-8")))
    if (file := folder / "speed" / "results.json").exists():
        costs += _costs_of_speed(json.loads(file.read_text(encoding="utf-8")))
    return Evidence(findings=tuple(findings), costs=tuple(costs))


def _seeds(cells: Mapping[str, Any], figure: Callable[[Any], float]) -> dict[int, float]:
    return {int(seed): figure(cell) for seed, cell in cells.items()}


HOW = {"chain": "assistant", "twin": "twin", "friendly": "friendly", "schedule": "schedule"}
"""How a contender's teacher teaches, where it does not as it is."""


def _methods(results: Mapping[str, Any]) -> Iterator[Finding | None]:
    for task in results.values():
        facts = task["facts"]
        setting = Setting("methods", facts["data"]["name"], facts["data"]["train"])
        found = of_methods.top1(task, "test")
        for name, values in found.items():
            if name != "ce" and name not in of_methods.EQUAL_COST:  # those take other numbers of steps
                contender = of_methods.ALL[name]
                objective = contender.objective.replace('"assistant"', '"small"').replace(
                    '"teacher"', '"big"'
                )
                named = objective.replace('dgkd(["small"', 'dgkd(teachers=["small"').replace(
                    'ceskd(["small"', 'ceskd(teachers=["small"'
                )
                yield setting.finding(named, values, found["ce"], HOW.get(contender.teacher, ""))


def _seed_systems(results: Mapping[str, Any]) -> Iterator[Finding | None]:
    contenders: Mapping[str, str] = import_module("benchmarks.seed-systems.run").CONTENDERS
    kinds: Mapping[str, Kind] = {"breast_cancer": "table", "banking77": "text"}
    for name, task in results.items():
        setting = Setting(
            "seed-systems", task["data"]["name"], task["data"]["train"], kinds.get(name, "image")
        )
        found = {each: _seeds(cells, float) for each, cells in task["top1"].items()}
        for each, values in found.items():
            if each != "student alone":
                yield setting.finding(contenders[each], values, found["student alone"])


def _text(results: Mapping[str, Any]) -> Iterator[Finding | None]:
    labels: Mapping[str, tuple[str, Labels]] = {
        "few": ("Banking77, 10 labels a class and the other questions without", "some"),
        "all": ("Banking77, all labels", "all"),
    }
    for which, (title, labeled) in labels.items():
        for student, methods in results.get(which, {}).items():
            setting = Setting("text", f"{title}, {student}", 9000, "text", labels=labeled)
            found = {name: _seeds(cells, lambda cell: cell["top1"]) for name, cells in methods.items()}
            for name, values in found.items():
                if name != "alone" and not name.startswith("answers"):
                    objective = next(iter(methods[name].values()))["of"]["objective"]
                    yield setting.finding(objective, values, found.get("alone", {}))


def _embeddings(results: Mapping[str, Any]) -> Iterator[Finding | None]:
    for student, methods in results.get("students", {}).items():
        settings = (
            (Setting("embeddings", f"Cranfield, {student}", None, "text", "retrieval"), "ndcg10_test"),
            (
                Setting("embeddings", f"STS-B, {student}", None, "text", "similarity"),
                "spearman_test",
            ),
        )
        for setting, figure in settings:
            found = {
                name: {int(seed): cell[figure] / 100 for seed, cell in cells.items()}
                for name, cells in methods.items()
            }
            for name, values in found.items():
                if name != "alone":
                    objective = next(iter(methods[name].values()))["of"]["objective"]
                    yield setting.finding(objective, values, found.get("alone", {}))


def _pixels(task: str, title: str, samples: int) -> Callable[[Mapping[str, Any]], Iterator[Finding | None]]:
    def read(results: Mapping[str, Any]) -> Iterator[Finding | None]:
        metric = tasks.named(task).of_width(2).primary
        cells = results.get("cells", {})
        found = {
            name: _seeds(each, lambda cell: metric.scale * cell["test"][metric.name])
            for name, each in cells.items()
        }
        for name, values in found.items():
            if name != "alone":
                objective = next(iter(cells[name].values()))["of"]["objective"]
                setting = Setting("pixels", title, samples, task=task)
                yield setting.finding(objective, values, found.get("alone", {}))

    return read


def _language(results: Mapping[str, Any]) -> Iterator[Finding | None]:
    for name, each in results.items():
        cells = each.get("cells", {})
        found = {contender: _seeds(by_seed, lambda cell: cell["nll"]) for contender, by_seed in cells.items()}
        for contender, values in found.items():
            if contender != "fine-tuning":
                objective = next(iter(cells[contender].values()))["of"]["objective"]
                setting = Setting("language", SETTINGS[name].title, None, "text", "language")
                yield setting.finding(objective, values, found.get("fine-tuning", {}))


READERS: Mapping[Callable[[Mapping[str, Any]], Iterator[Finding | None]], str] = {
    _methods: "methods/results.json",
    _seed_systems: "seed-systems/results.json",
    _text: "text/results.json",
    _embeddings: "embeddings/results.json",
    _pixels("segmentation", "CamVid", 367): "pixels/segmentation.json",
    _pixels("restoration", "T91 and Set5", 82): "pixels/restoration.json",
    _pixels("detection", "BCCD", 205): "pixels/detection.json",
    _language: "language/results.json",
}
"""What reads a file of figures, by the file."""


def _costs_of_methods(results: Mapping[str, Any]) -> Iterator[Cost]:
    for task in results.values():
        for name, spent in task.get("cost", {}).items():
            if name != "ce" and name not in of_methods.EQUAL_COST:
                yield Cost(
                    benchmark="methods",
                    setting=task["facts"]["data"]["name"],
                    objective=str(parse(spent["of"]["objective"])),
                    how=HOW.get(of_methods.ALL[name].teacher, ""),
                    teacher="live",
                    ratio=spent["step_over_ce"],
                )


def _costs_of_speed(results: Mapping[str, Any]) -> Iterator[Cost]:
    for place, each in results.get("step", {}).items():
        seconds = each["seconds"]
        for name, objective in OBJECTIVES.items():
            for teacher in ("live", "cached"):
                if f"{name}, {teacher}" in seconds:
                    yield Cost(
                        benchmark="speed",
                        setting=f"images of 32 x 32, {place}",
                        objective=_without_phases(objective),
                        teacher=teacher,
                        ratio=round(ratio(seconds, f"{name}, {teacher}", reference(name)), 2),
                    )


def _without_phases(objective: str) -> str:
    """The objective that a step is of; its phases were shortened there, and have no part in it."""
    return str(parse(objective.replace(", epochs=1)", ")").replace("(epochs=2)", "")))


def guide() -> str:
    """The rules as a table in Markdown."""
    lines = ["| at hand | try | because |", "|---|---|---|"]
    lines += [f"| {rule.at_hand} | {', '.join(map(str, rule.tries))} | {rule.because} |" for rule in GUIDE]
    return "\n".join(lines)


def page(text: str) -> str:
    """docs/methods.md with the rules between its marks.

    Args:
        text: the page as it is.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{guide()}\n{END}{after}"


def shipped(found: Evidence) -> str:
    """The evidence as the text of a file: a line for each figure, so that changes are seen in a diff."""
    parts = {
        name: ",\n".join(json.dumps(each.model_dump(mode="json"), ensure_ascii=False) for each in rows)
        for name, rows in (("findings", found.findings), ("costs", found.costs))
    }
    return '{{"findings": [\n{}\n],\n"costs": [\n{}\n]}}\n'.format(parts["findings"], parts["costs"])


if __name__ == "__main__":
    write_text(SHIPPED, shipped(collected()))
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))
