"""docs/pages.py and mkdocs.yml: the site has every page, and a page for every method."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from invented_methods import INVENTED

from limbeck.methods import METHODS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", DOCS / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in named(each)]


def test_every_page_is_in_the_menu(pages: ModuleType) -> None:
    menu = named(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    others = {"index.md", "changelog.md", "contributing.md", "examples/index.md", "benchmarks/index.md"}
    assert {page.name for page in DOCS.glob("*.md")} | others == set(menu)
    assert others <= pages.pages().keys()


def test_every_method_has_a_page(pages: ModuleType) -> None:
    assert set(pages.method_names()) == {
        name
        for name, method in METHODS.items()
        if name not in INVENTED and method.__module__ == f"limbeck.methods.{name}"
    }


def test_links_lead_to_pages_of_the_site(pages: ModuleType) -> None:
    class Files:
        def get_file_from_path(self, path: str) -> object | None:
            return path if (DOCS / path).exists() or path in pages.pages() else None

    class Page:
        def __init__(self, place: str) -> None:
            self.file = type("File", (), {"src_uri": place})

    def shown(text: str, place: str) -> str:
        written: str = pages.on_page_markdown(text, page=Page(place), config=None, files=Files())
        return written

    assert shown("[tasks.md](tasks.md#rows)", "runs.md") == "[tasks](tasks.md#rows)"
    assert (
        shown("[all](../benchmarks/lwkd/README.md)", "seed-systems.md") == "[all](benchmarks/lwkd/README.md)"
    )
    assert shown("[runs](docs/runs.md)", "index.md") == "[runs](runs.md)"
    assert shown("[it](../examples/own_loop.py)", "own-loop.md") == "[it](examples/own_loop.md)"
    assert shown("| `kd` | logits |", "methods.md") == "| [`kd`](methods/kd.md) | logits |"
    assert shown("[how](CONTRIBUTING.md), [all](examples)", "index.md") == (
        "[how](contributing.md), [all](examples/index.md)"
    )
    assert shown("- [one](images.py)", "examples/index.md") == "- [one](../examples/images.md)"
    assert shown('<img src="docs/images/a.png">', "index.md") == '<img src="images/a.png">'
    elsewhere = shown("[a test](../tests/test_site.py)", "own-loop.md")
    assert elsewhere == "[a test](#){title='tests/test_site.py, in the repository'}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_python_on_a_page_is_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        ast.parse(block.replace("    ...", "    pass") if not block.startswith(" ") else f"if True:\n{block}")
