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

import limbeck.methods
from limbeck.methods import METHODS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return hook("pages")


@pytest.fixture(scope="module")
def method_pages() -> ModuleType:
    return hook("method_pages")


def named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in named(each)]


def test_every_page_is_in_the_menu(pages: ModuleType) -> None:
    menu = named(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    others = {"index.md", "changelog.md", "contributing.md", "examples/index.md", "benchmarks/index.md"}
    assert {page.name for page in DOCS.glob("*.md")} | others == set(menu)
    assert others <= pages.pages().keys()


def test_every_method_has_a_page(method_pages: ModuleType) -> None:
    assert set(method_pages.method_names()) == {
        name
        for name, method in METHODS.items()
        if name not in INVENTED and method.__module__ == f"limbeck.methods.{name}"
    }


def test_every_page_of_a_method_begins_with_its_use_and_cost(method_pages: ModuleType) -> None:
    found = method_pages.pages()
    assert all("| Compares | " in text and "| [When](" in text for text in found.values())
    icd = found["methods/icd.md"].splitlines()
    assert "| Recipe | `ce + icd` |" in icd
    assert "| Reads of the teacher | embedding |" in icd
    (when,) = [line for line in icd if "[When]" in line]
    assert "a teacher's embeddings too: `ce + kd + icd`<br>" in when
    (cost,) = [line for line in icd if "[Cost]" in line]
    assert re.search(r"\d\.\d\d times a step of `ce`, and \d+ kB for its parts", cost)
    plain = [line for line in found["methods/kd.md"].splitlines() if "[When]" in line]
    assert "icd" not in plain[0]
    assert "`0.1*ce + 0.9*kd(temperature=1)`" in plain[0]


def test_every_method_tells_its_equation() -> None:
    """As a block of its own, in the first part of some docstring of its file."""
    for file in (Path(limbeck.methods.__file__).parent / f"{name}.py" for name in METHODS):
        if not file.exists():
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        shown = [tree, *(each for each in tree.body if isinstance(each, ast.FunctionDef | ast.ClassDef))]
        told = [(ast.get_docstring(each) or "").partition("Args:")[0] + "\n" for each in shown]
        assert any(re.search(r"\n\n    \S.*\n", text) for text in told), file.name


def test_links_lead_to_pages_of_the_site(pages: ModuleType, method_pages: ModuleType) -> None:
    made = pages.pages() | method_pages.pages()

    class Files:
        def get_file_from_path(self, path: str) -> object | None:
            return path if (DOCS / path).exists() or path in made else None

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
