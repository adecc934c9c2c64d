"""The report of a run, from what lies in its directory."""

from __future__ import annotations

from limbeck.data import Source
from limbeck.evaluation import results
from limbeck.files import parse_json, write_text
from limbeck.report.inputs import examples
from limbeck.report.run import run_report
from limbeck.runs.directory import Run
from limbeck.runs.result import Result
from limbeck.training.history import read_history


def write_report(run: Run, result: Result, source: Source | None) -> None:
    """Writes a run's `report.html`, whole or not at all.

    Args:
        run: the run; it has a history, and may have an evaluation.
        result: the content of its `result.json`, which may not be written yet.
        source: its data, of which the page shows inputs that the student gets wrong; None shows no inputs.
    """
    history, skipped = read_history(run.path / "metrics.jsonl")
    evaluation = results.read(run.path / "evaluation.json")
    page = run_report(
        result,
        history,
        skipped,
        evaluation=evaluation,
        examples=examples(evaluation, source) if evaluation and source else None,
        transfers=[
            parse_json(file.read_text(encoding="utf-8")) for file in sorted(run.path.glob("transfer/*.json"))
        ],
        settings=run.config.model_dump(mode="json"),
        environment=parse_json((run.path / "environment.json").read_text(encoding="utf-8")),
        home=run.path,
    )
    write_text(run.path / "report.html", page)
