"""The notebooks of examples/ are what `make notebooks` writes, and their cells are Python."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / ".ci" / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_up_to_date(notebooks: ModuleType) -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.ipynb")} == set(notebooks.SCRIPTS)
    for name in notebooks.SCRIPTS:
        script = ROOT / "examples" / f"{name}.py"
        written = script.with_suffix(".ipynb").read_text(encoding="utf-8")
        assert written == notebooks.notebook(script), "run `make notebooks`"


def test_cells_hold_the_whole_script(notebooks: ModuleType) -> None:
    for name in notebooks.SCRIPTS:
        script = ROOT / "examples" / f"{name}.py"
        cells = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
        assert len({cell["id"] for cell in cells}) == len(cells)
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        _, *body, last = ast.parse(script.read_text(encoding="utf-8")).body
        assert isinstance(last, ast.If)
        told = [ast.dump(statement) for part in code for statement in ast.parse(part).body]
        assert told == [ast.dump(statement) for statement in [*body, *last.body]]


def test_names_and_functions_have_cells_of_their_own(notebooks: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "short.py"
    script.write_text(
        '"""Says it.\n\nTwice.\n"""\nimport os\n\nTIMES = 2\n\n\n@staticmethod\ndef main():\n'
        '    print(os.name * TIMES)\n\n\nif __name__ == "__main__":\n    main()\n'
    )
    cells = json.loads(notebooks.notebook(script))["cells"]
    assert ["".join(cell["source"]) for cell in cells] == [
        "# Says it\n\nTwice.",
        notebooks.INSTALL,
        "import os\n\nTIMES = 2",
        "@staticmethod\ndef main():\n    print(os.name * TIMES)",
        "main()",
    ]
