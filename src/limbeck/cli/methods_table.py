"""The list that `limbeck methods` prints."""

from __future__ import annotations

import ast
from importlib.resources import files

from rich.table import Table

from limbeck import methods
from limbeck.plugins import registers


def methods_table() -> Table:
    """Every method with a line and its paper.

    Those of limbeck are read from the sources: to import them takes torch, and seconds. All others are
    imported.
    """
    rows = {name: _of_source(place) for name, place in methods.METHODS.places.items()}
    if registers("methods") or methods.METHODS.keys() - rows.keys():
        from limbeck.cli.catalog import described

        rows |= {name: described(method) for name, method in methods.table().items() if name not in rows}
    table = Table("method", "what it does", "paper")
    for name, row in sorted(rows.items()):
        table.add_row(name, *row)
    return table


def _of_source(place: str) -> tuple[str, str]:
    """What a method does and its paper, the first paragraphs of the docstrings of its class and its file."""
    module, _, name = place.partition(":")
    package, _, stem = module.rpartition(".")
    tree = ast.parse((files(package) / f"{stem}.py").read_text(encoding="utf-8"))
    made = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    does, paper = (
        " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split()) for node in (made, tree)
    )
    return does, paper
