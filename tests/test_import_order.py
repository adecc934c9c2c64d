"""The rooms import each other one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "limbeck"

ORDER = (
    {"__init__", "__main__"},
    {"cli"},
    {"doors", "integrations"},
    {"advice"},
    {"report"},
    {"studies"},
    {"runs"},
    {"evaluation"},
    {"training"},
    {"distiller"},
    {"distilling"},
    {"checks", "chunked", "watch"},
    {"losses", "objective"},
    {"methods"},
    {"teachers"},
    {"data", "models"},
    {"generation", "tasks"},
    {"features"},
    {"processors"},
    {"arguments", "config", "data_facts", "pretrained", "projection", "ranked", "sides"},
    {"config_errors", "yaml_text"},
    {"urls"},
    {
        "boxes",
        "byte_sizes",
        "durations",
        "files",
        "growing",
        "hashing",
        "intervals",
        "notation",
        "optimization",
        "outputs",
        "plugins",
        "seeds",
        "stopping",
    },
    {"optional", "retold", "shares", "words"},
    {"errors"},
)
"""The rooms and the modules beside them, the highest first. One imports what is further down alone."""

LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import below a node, inside functions too; not those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from (each for other in child.orelse for each in imports(ast.Module([other], [])))
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        else:
            yield from imports(child)


def rooms_of(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The rooms that an import names; "__init__" for the doors at the top of limbeck."""
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    elif statement.level:
        raise AssertionError(f"a relative import in line {statement.lineno}")
    elif statement.module == "limbeck":
        names = [f"limbeck.{alias.name}" for alias in statement.names]
    else:
        names = [str(statement.module)]
    for name in names:
        package, _, rest = name.partition(".")
        if package == "limbeck":
            room = rest.partition(".")[0]
            yield room if room in LEVEL else "__init__"


def upward(path: Path, text: str) -> list[str]:
    """The imports of a file that do not lead down."""
    here = room_of(path)
    return [
        f"{path.relative_to(SOURCE)}:{statement.lineno} imports {room}"
        for statement in imports(ast.parse(text))
        for room in rooms_of(statement)
        if room != here and LEVEL[room] <= LEVEL[here]
    ]


def test_every_room_has_its_place() -> None:
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")}
    assert rooms == set(LEVEL)


def test_no_import_leads_up() -> None:
    found = [each for path in sorted(SOURCE.rglob("*.py")) for each in upward(path, path.read_text("utf-8"))]
    assert found == []


def test_an_import_that_leads_up_is_seen_wherever_it_is() -> None:
    text = """
from typing import TYPE_CHECKING
from limbeck import data, Distiller
import limbeck.models.cnn
if TYPE_CHECKING:
    from limbeck.runs import Run
else:
    from limbeck.report import page
def late():
    from limbeck.training.guard import Guard
    from limbeck.tasks import Task
"""
    assert upward(SOURCE / "data" / "anew.py", text) == [
        "data/anew.py:3 imports __init__",
        "data/anew.py:4 imports models",
        "data/anew.py:8 imports report",
        "data/anew.py:10 imports training",
    ]
