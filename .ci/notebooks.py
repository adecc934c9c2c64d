"""Writes the notebooks of examples/ from their scripts: python .ci/notebooks.py."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = ("own_loop", "own_method")
INSTALL = "# In a fresh environment:\n# %pip install 'limbeck[run]'"


def notebook(script: Path) -> str:
    """A script as a notebook: its docstring as text, a cell for each function or class, and its call.

    Args:
        script: Python file whose last statement calls `main`.
    """
    text = script.read_text(encoding="utf-8")
    module = ast.parse(text)
    head, *body, last = module.body
    assert isinstance(last, ast.If), f"{script.name} ends by calling main"
    docstring = (ast.get_docstring(module) or "").strip()
    title, _, rest = docstring.partition("\n\n")
    lines = text.splitlines()
    cells, together = [_text(f"# {title.rstrip('.')}\n\n{rest}".strip()), _code(INSTALL)], list[str]()
    ends = [head, *body]
    for before, statement in zip(ends, body, strict=False):
        assert before.end_lineno is not None
        assert statement.end_lineno is not None
        source = "\n".join(lines[before.end_lineno : statement.end_lineno])
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            cells += [_code("\n".join(together))] if together else []
            cells.append(_code(source))
            together = []
        else:
            together.append(source)
    cells += [_code("\n".join(together))] if together else []
    cells.append(_code("\n".join(ast.unparse(each) for each in last.body)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    whole = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str) -> dict[str, Any]:
    lines = source.strip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines}


def main() -> None:
    """Writes them beside the scripts."""
    for name in SCRIPTS:
        (EXAMPLES / f"{name}.ipynb").write_text(notebook(EXAMPLES / f"{name}.py"), encoding="utf-8")


if __name__ == "__main__":
    main()
