"""A page for each method: when to use it and its cost, from the tables of methods.md, then its docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PAGE = "# {}\n\n{}\n::: limbeck.methods.{}\n    options: {{show_root_heading: false}}\n"
GUIDE = "methods.md#which-to-try-first"
COSTS = "methods.md#what-each-costs-and-what-it-gave"


@cache
def method_names() -> list[str]:
    """The methods that limbeck knows by name: a file each, by the table of `limbeck.methods`."""
    folder = ROOT / "src" / "limbeck" / "methods"
    others = {"__init__", "base", "declarations", "terms", "gradient_rules"}
    return [path.stem for path in sorted(folder.glob("*.py")) if path.stem not in others]


def pages() -> dict[str, str]:
    """Markdown by the path it has on the site."""
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    tables = {head: [*_rows(text, head)] for head in ("compares", "learns from", "try", "step / `ce`")}
    listed = {_name(row[0]): row for row in (*tables["compares"], *tables["learns from"])}
    costs = {row[0]: row for row in tables["step / `ce`"]}
    return {
        f"methods/{name}.md": PAGE.format(
            name, _glance(name, listed.get(name), costs.get(name), tables["try"]), name
        )
        for name in method_names()
    }


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def _glance(name: str, listed: list[str] | None, costs: list[str] | None, guide: list[list[str]]) -> str:
    """The table at the top of a page; empty for a method that methods.md does not list."""
    if listed is None:
        return ""
    rows = [("Compares", listed[1]), ("Paper", listed[2]), ("Recipe", listed[3])]
    uses = [f"{at_hand}: {tried}" for at_hand, tries, _ in guide if (tried := _tried(name, tries))]
    rows.append((f"[When](../{GUIDE})", "<br>".join(uses) or "the guide proposes it for nothing yet"))
    if costs:
        _, step, memory, reads, gave = costs
        parts = "" if memory == "0 kB" else f", and {memory} for its parts"
        rows += [
            ("Reads of the teacher", reads),
            (f"[Cost](../{COSTS})", f"{step} times a step of `ce`{parts}"),
        ]
        if gave:
            rows.append((f"[Gave](../{COSTS})", f"{gave} points of top-1 over the student alone, on digits"))
    first, *further = (f"| {left} | {right} |\n" for left, right in rows if right)
    table = "".join([first, "|---|---|\n", *further])
    return re.sub(r"\]\((?!\.\./|https?:)", "](../", table)


def _tried(name: str, tries: str) -> str:
    """The first objective of a rule that has a method; `ce` alone, and `kd` with nothing else but it."""
    plain: dict[str, set[str]] = {"ce": set(), "kd": {"ce"}}
    for objective in re.findall(r"`([^`]+)`", tries):
        terms = set(re.findall(r"[a-z_][a-z_0-9]*(?![\w=])", re.sub(r"\"[^\"]*\"", "", objective)))
        others = (terms & {*method_names()}) - {name}
        if (
            name in terms
            and others <= plain.get(name, others)
            and not objective.startswith(("--", "limbeck "))
        ):
            return f"`{objective}`"
    return ""


def _rows(text: str, head: str) -> Iterator[list[str]]:
    """The rows of all tables with a column of that name."""
    for table in re.findall(r"^\|.*\n\|[-|]+\n(?:\|.*\n)+", text, flags=re.M):
        first, _, *rows = (_cells(line) for line in table.splitlines())
        if head in first:
            yield from rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _name(cell: str) -> str:
    return re.sub(r"\W.*", "", cell.strip("`"))
