from __future__ import annotations

import base64
import gzip
import json
import re
from hashlib import sha256
from html import unescape
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from limbeck.errors import LimbeckError
from limbeck.files import write_text
from limbeck.report.chart import Chart, Trace
from limbeck.report.page import Section, page
from limbeck.report.table import Table

EVIL = "</script><script>alert('x')</script> & \"co\""


def test_every_text_is_escaped() -> None:
    chart = Chart(EVIL, [Trace(EVIL, [EVIL], [1.0]), Trace("b", ["c"], [2.0])], EVIL, EVIL, EVIL)
    table = Table(EVIL, [EVIL], [[EVIL]], EVIL)
    html = page(EVIL, EVIL, [Section(EVIL, [EVIL, table, chart])], {EVIL: EVIL})
    assert "alert('x')" not in html
    assert html.count("&lt;/script&gt;&lt;script&gt;alert(") >= 18
    (figure,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.S)
    assert json.loads(figure)["data"][0]["meta"]["series"] == EVIL


def test_headings_facts_paragraphs_and_tables_are_there() -> None:
    table = Table(
        "Sizes", ["network", "parameters"], [["teacher", 26000], ["student", None]], "Counted once."
    )
    html = page("Title", "Lead.", [Section("First", ["Words."]), Section("Second", [table])], {"Seed": "7"})
    assert "<h1>Title</h1>" in html
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", html) == ["First", "Second"]
    assert "<dt>Seed</dt><dd>7</dd>" in html
    assert "<p>Words.</p>" in html
    assert "<caption>Sizes</caption>" in html
    assert '<th scope="row">teacher</th><td class="number">26,000</td>' in html
    assert '<th scope="row">student</th><td class="number">\N{EN DASH}</td>' in html
    assert "Counted once." in html


@pytest.mark.parametrize(("rows", "beginning"), [(25, 25), (26, 10)])
def test_a_long_table_shows_its_beginning_and_unfolds(rows: int, beginning: int) -> None:
    table = Table("Classes", ["class", "F1"], [[f"class {at}", at] for at in range(rows)], "By class.")
    html = page("Title", "Lead.", [Section("Classes", [table])], {})
    shown, _, unfolded = html.partition("<details>")
    assert shown.count('<th scope="row">') == beginning
    assert unfolded.count('<th scope="row">') == (rows if beginning < rows else 0)
    assert (f"<summary>All {rows} rows</summary>" in html) == (beginning < rows)
    assert html.count("By class.") == 1


def test_a_page_loads_nothing_and_a_page_without_charts_is_small() -> None:
    html = page("Title", "Lead.", [Section("Words", ["One."])], {})
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", html)
    assert len(html) < 20_000


def test_a_browser_may_run_the_pages_own_scripts_alone() -> None:
    chart = Chart("Accuracy", [Trace("a", [1, 2], [0.25, 0.75])], "epoch", "accuracy", "")
    html = page("Title", "Lead.", [Section("Curves", [chart])], {})
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    rules = dict(rule.split(" ", 1) for rule in unescape(policy).split("; "))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    digests = [base64.b64encode(sha256(code.encode()).digest()).decode() for code in (script, get_plotlyjs())]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert (rules["default-src"], rules["base-uri"], rules["form-action"]) == ("'none'",) * 3
    assert "unsafe" not in policy.replace("style-src &#39;unsafe-inline&#39;", "")


def test_every_chart_has_its_table() -> None:
    chart = Chart("Accuracy", [Trace("a", [1, 2], [0.25, 0.75])], "epoch", "accuracy", "As it was.")
    html = page("Title", "Lead.", [Section("Curves", [chart, chart])], {})
    assert html.count('<div class="plot"') == html.count("<details>") == 2
    assert html.count('<th scope="row">2</th><td class="number">0.75</td>') == 2
    assert "As it was." in html
    (library,) = re.findall(r'<script type="application/gzip" id="plotly">(.*?)</script>', html)
    assert gzip.decompress(base64.b64decode(library)).decode() == get_plotlyjs()
    assert len(html) < 2_500_000


def test_the_same_page_twice_is_the_same_file() -> None:
    sections = [Section("Curves", [Chart("c", [Trace("a", [1], [1.0])], "x", "y")])]
    assert page("t", "l", sections, {}) == page("t", "l", sections, {})


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_text(path, "first")
    write_text(path, "zweite ±")
    assert path.read_text(encoding="utf-8") == "zweite ±"
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_write_names_what_is_in_the_way_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(LimbeckError, match=r"report\.html"):
        write_text(tmp_path / "report.html", "text")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(LimbeckError, match="cannot be written"):
        write_text(tmp_path / "file" / "report.html", "text")
