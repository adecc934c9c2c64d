from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from command import Command

from finished_runs import finished_run, two_groups


def test_the_table_shows_mean_deviation_difference_and_verdict(command: Command, tmp_path: Path) -> None:
    answer = command("compare", *two_groups(tmp_path), "--baseline", "ce")
    assert (answer.code, answer.err) == (0, "")
    text = re.sub(r"\s+", " ", re.sub(r"[│┃]", " ", answer.out))
    # kd minus ce: 7, 8, 9, 7, 8 points, mean 7.8, sd sqrt(0.7), t(0.975, 4) = 2.776
    assert all(each in text for each in ("ce 72.00 ±", "1.58", "79.80 ±", "1.92"))
    assert "better" in text


def test_each_metric_has_a_table_of_its_own_on_the_screen(command: Command, tmp_path: Path) -> None:
    answer = command("compare", *two_groups(tmp_path, 2), "--metric", "top1", "--metric", "nll")
    assert answer.out.count("┃ run ") == 3, "the last says what each learned from"
    assert "Comparison by test top-1" in answer.out
    assert "Comparison by test NLL" in answer.out


def test_few_pairs_give_no_verdict(command: Command, tmp_path: Path) -> None:
    answer = command("compare", *two_groups(tmp_path, 4), "--format", "markdown")
    # 77, 79, 81 and 80 %
    row = "| 79.25 ± 1.71 | +7.75 (+6.23 to +9.27) | too few seeds: 4 of 5 | 4 | 650 |"
    assert row in answer.out


def test_csv_is_for_programs(command: Command, tmp_path: Path) -> None:
    answer = command(
        "compare", *two_groups(tmp_path), "--format", "csv", "--metric", "top1", "--metric", "nll"
    )
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [(row["run"], row["metric"]) for row in rows] == [
        ("ce", "top1"),
        ("ce", "nll"),
        ("kd(temperature=4)", "top1"),
        ("kd(temperature=4)", "nll"),
    ]
    assert float(rows[2]["difference"]) == pytest.approx(7.8)
    assert float(rows[3]["difference"]) == pytest.approx(-0.078)
    assert (rows[2]["pairs"], rows[2]["verdict"], rows[3]["verdict"]) == ("5", "better", "better")
    assert (rows[0]["difference"], rows[0]["n"], rows[0]["seeds"]) == ("", "5", "0 1 2 3 4")


def test_latex_goes_into_a_file(command: Command, tmp_path: Path) -> None:
    runs, out = two_groups(tmp_path), tmp_path / "table.tex"
    answer = command("compare", *runs, "--format", "latex", "--out", out)
    assert (answer.code, answer.out) == (0, "")
    assert str(out) in answer.err
    text = out.read_text()
    assert r"ce & 72.00 $\pm$ 1.58 & -- & baseline & 5 & 650 \\" in text
    assert r"$+$7.80 ($+$6.76 to $+$8.84) & better & 5 & 650 \\" in text
    again = command("compare", *runs, "--format", "latex", "--out", out)
    assert again.code == 2
    assert "exists; say --overwrite" in again.err
    assert out.read_text() == text
    assert command("compare", *runs, "--out", out, "--overwrite").code == 0
    assert "┃ verdict  ┃" in out.read_text()


def test_the_page_holds_the_comparison(command: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    answer = command("compare", *two_groups(tmp_path), "--html", page)
    assert answer.code == 0
    assert "kd(temperature=4) has the best test top-1 of 2: 79.80" in page.read_text(encoding="utf-8")
    assert command("compare", tmp_path / "ce-0", "--html", page).code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "top2"], "unknown metric 'top2'; did you mean 'top"),
        (["--metric", "validation.top1"], "none of the runs was measured by validation top-1"),
        (["--metric", "train.top1"], "unknown split 'train'"),
        (["--metric", "top5"], "none of the runs was measured by test top-5"),
        (["--out", "page.html", "--html", "page.html"], "--out and --html are both 'page.html'"),
        (["--baseline", "kdd"], "no run is named 'kdd'; there are 'ce', 'kd(temperature=4)'"),
    ],
)
def test_bad_input(command: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    answer = command("compare", *two_groups(tmp_path, 1), "--html", "page.html", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "page.html").exists()


def test_brackets_in_names_are_no_markup(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "[" / "x]"
    runs = [finished_run(folder / "a[/x]"), finished_run(folder / "b", epochs=9)]
    (runs[1].path / "metrics.jsonl").write_text('{"stage"')
    page = tmp_path / "[" / "x].html"
    answer = command("compare", *(run.path for run in runs), "--baseline", "ce, epochs=2", "--html", page)
    assert answer.code == 0
    assert str(page) in answer.err
    assert f"{str(runs[1].path)!r}: 1 line of metrics.jsonl" in answer.err


def test_notes_go_beside_the_table(command: Command, tmp_path: Path) -> None:
    other = finished_run(tmp_path / "other", "kd", fingerprint="bbbb")
    runs = [*two_groups(tmp_path, 1), other.path]
    assert command("compare", *runs).code == 2
    answer = command("compare", *runs, "--anyway", "--format", "csv")
    assert answer.code == 0
    assert "were run on different data" in answer.err
    assert answer.out.startswith("run,student,parameters,metric,")


def test_validation_is_for_choosing(command: Command, tmp_path: Path) -> None:
    runs = two_groups(tmp_path, 2)
    for number, run in enumerate(runs):
        file = run / "result.json"
        result = json.loads(file.read_text())
        result["metrics"]["validation"] = {"top1": 0.5 + number / 100}
        file.write_text(json.dumps(result))
    answer = command("compare", *runs, "--metric", "validation.top1", "--format", "markdown")
    assert "| validation top-1 (%) |" in answer.out
    assert "50.50 ± 0.71" in answer.out
    assert "The validation split is for choosing" in answer.out
    assert "choose by validation, validation.top1." in command("compare", *runs, "--format", "markdown").out


def test_after_unequal_steps_a_verdict_is_asked_for(command: Command, tmp_path: Path) -> None:
    runs = two_groups(tmp_path)
    for run in runs[5:]:
        (run / "metrics.jsonl").write_text('{"stage": "training", "epoch": 1, "step": 480, "terms": {}}\n')
    answer = command("compare", *runs, "--format", "markdown")
    assert "| none: unequal steps |" in answer.out
    assert "Optimizer steps are unequal (ce 16; kd(temperature=4) 480)" in answer.out.replace("\\", "")
    assert "| 480 | not recorded | not recorded |" in answer.out
    asked = command("compare", *runs, "--format", "markdown", "--unequal")
    assert "| better |" in asked.out
    assert "a difference may be one of the length of training alone" in asked.out
