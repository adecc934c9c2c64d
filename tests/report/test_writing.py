from __future__ import annotations

from pathlib import Path

import torch

from finished_runs import finished_run
from limbeck import data, evaluation
from limbeck.evaluation import Contender
from limbeck.report.writing import write_report
from limbeck.runs.evaluate import write


def test_the_page_shows_what_lies_in_the_directory(tmp_path: Path) -> None:
    run, source = finished_run(tmp_path / "run", "kd"), data.load("digits")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "trai')
    write_report(run, run.result, source)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "1 line of the history could not be read" in page
    assert "training.epochs" in page
    assert "data:image/png" not in page

    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)) for _ in range(2)]
    contenders = {"student": Contender(networks[0], "one"), "teacher": Contender(networks[1], "other")}
    found = evaluation.evaluate(source, contenders, suite="quick")  # type: ignore[arg-type]
    write(run, found)
    write_report(run, run.result, source)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 12
    assert found.agreement is not None
    assert len(found.agreement.examples) == 12
    assert "What is taken for what" in page
