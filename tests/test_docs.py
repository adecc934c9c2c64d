from __future__ import annotations

import re
from pathlib import Path

import pytest
from invented_methods import INVENTED

from limbeck.methods import METHODS

DOCS = Path(__file__).parents[1] / "docs"
ROWS = dict(re.findall(r"^\| `(\w+)[^|]*\|.*\| (.*) \|$", (DOCS / "methods.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(INVENTED)))
def test_the_table_of_methods_has_every_method_with_its_recipe(name: str) -> None:
    assert ROWS[name].strip("`") == (METHODS[name].recipe or "")


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    broken = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
