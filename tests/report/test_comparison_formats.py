from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from limbeck.report.formats import csv_text, latex, markdown, plain, rich_table
from limbeck.report.table import Table

TABLE = Table(
    "Compared",
    ["run", "top-1 (%)", "difference"],
    [
        ['0.1*ce + mgd(scheme="a_b")', "90.00 ± 1.50", None],
        ["a|b <x> [y] \\ {z} 50% & $ # ~ ^", 0.25, "-1.00 (-2.00 to +0.50)"],
    ],
    "Paired.\nOnly 5 %.",
)


def test_markdown_is_escaped_and_aligned() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "| run | top-1 (%) | difference |"
    assert lines[1] == "| --- | ---: | ---: |"
    assert lines[2] == '| 0.1\\*ce + mgd(scheme="a\\_b") | 90.00 ± 1.50 | \N{EN DASH} |'
    assert lines[3].startswith(r"| a\|b \<x\> \[y\] \\ {z} 50% & $ # ~ ^ | 0.25 | -1.00")
    assert lines[5].startswith("Paired.")


def test_latex_is_booktabs_and_escaped() -> None:
    lines = latex(TABLE).splitlines()
    assert lines[:4] == ["% Paired.", "% Only 5 %.", r"\begin{tabular}{lrr}", r"\toprule"]
    assert lines[4] == r"run & top-1 (\%) & difference \\"
    assert lines[5] == r"\midrule"
    assert lines[6] == r'0.1$\ast$ce + mgd(scheme="a\_b") & 90.00 $\pm$ 1.50 & -- \\'
    assert lines[7] == (
        r"a|b <x> [y] \textbackslash{} \{z\} 50\% \& \$ \# \textasciitilde{} \textasciicircum{} & 0.25 & "
        r"$-$1.00 ($-$2.00 to $+$0.50) \\"
    )
    assert lines[8:] == [r"\bottomrule", r"\end{tabular}"]


def test_csv_keeps_every_digit() -> None:
    records: list[dict[str, str | float | None]] = [
        {"run": 'a, "b"', "mean": 1 / 3, "low": None},
        {"run": "c", "mean": 2.0, "low": 1.0},
    ]
    rows = list(csv.DictReader(io.StringIO(csv_text(records))))
    assert rows[0]["run"] == 'a, "b"'
    assert float(rows[0]["mean"]) == 1 / 3
    assert [row["low"] for row in rows] == ["", "1.0"]


def test_plain_text_shows_names_that_look_like_markup() -> None:
    text = plain(Table("t", ["model"], [["cnn(channels=[4])"], ["mlp(hidden=[/x])"]]))
    assert "cnn(channels=[4])" in text
    assert "[/x]" in text


@pytest.mark.parametrize("width", [38, 39, 60, 200])
def test_a_terminal_breaks_no_word(width: int) -> None:
    table = Table(
        "Words", ["objective", "value (points)", "verdict"], [["label_smoothing", "+1.2", "better"]]
    )
    file = io.StringIO()
    Console(file=file, width=width).print(rich_table(table))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for word in ("objective", "(points)", "verdict", "label_smoothing", "better"):
        assert any(word in line for line in lines), word
    # 15 + 8 + 7 letters and 10 of frame
    assert ("label_smoothing │ " in file.getvalue()) == (width >= 40)
