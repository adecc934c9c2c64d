from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from command import Command
from invented_methods import INVENTED

from limbeck.methods import METHODS
from limbeck.runs import Run
from limbeck.tasks import TASKS
from pretrained_folders import bert, write_texts

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


def rows_of(page: str, start: str) -> list[list[str]]:
    """The cells of the table of a page whose head begins so, row by row."""
    lines = (DOCS / page).read_text().partition(f"\n| {start} |")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_tables_of_tasks_say_what_the_tasks_say() -> None:
    metrics, recipes = rows_of("tasks.md", "task | targets"), rows_of("tasks.md", "task | with a teacher")
    assert [row[0] for row in metrics] == [f"`{name}`" for name in TASKS]
    assert [row[3] for row in metrics] == [
        ", ".join(metric.label for metric in task.metrics) for task in TASKS.values()
    ]
    assert recipes == [
        [f"`{name}`", *(f"`{task.of_width(2).recipe(teacher=teacher)}`" for teacher in (True, False))]
        for name, task in TASKS.items()
    ]


def test_the_table_of_methods_and_tasks_says_what_is_refused() -> None:
    *listed, others = rows_of("tasks.md", "methods")
    said = {
        name: set(re.findall(r"`(\w+)`", tasks)) for names, tasks in listed for name in names.split("`")[1::2]
    }
    assert others[0].startswith("all others")
    for name in sorted(set(METHODS) - set(INVENTED)):
        method = METHODS[name]
        served = {
            each
            for each, task in TASKS.items()
            if (
                method.rows == "any"
                or (
                    task.scores in (method.rows, *method.also)
                    and (task.one_row_per_sample or not method.one_row_per_sample)
                )
            )
            and each in (method.tasks or (each,))
            and not (method.ranks and not task.ranked)
        }
        assert said.get(name, set(TASKS)) == served, name


def test_the_example_of_a_task_is_the_file_that_is_tested() -> None:
    folder = DOCS.parent / "tests" / "tasks"
    file = "".join((folder / name).read_text() for name in ("limbeck_ordinal.py", "test_stranger_task.py"))
    shown = re.findall(r"```python\n(.*?)```", (DOCS / "writing-a-task.md").read_text(), re.DOTALL)
    assert len(shown) > 3
    assert [part for part in shown if part.strip("\n") not in file] == []


def test_the_commands_of_the_page_on_hugging_face_networks_leave_chance(
    command: Command, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    bert(tmp_path / "minilm", layers=2, hidden_size=64, initializer_range=0.2)
    write_texts(tmp_path / "questions", train=500, test=100)
    trained, distilled = (DOCS / "huggingface.md").read_text().split("\n\n")[2].strip().splitlines()
    faster = ("--set", "training.trackers=[]", "--set", "training.checkpoint_every=30")
    plain = (*faster, "--baseline", "none")
    for line, out, more in ((trained, "runs/teacher", faster), (distilled, "runs/distill-1", plain)):
        assert command(*shlex.split(line)[1:], *more).code == 0
        result = Run(tmp_path / out).result
        assert not result.at_chance
        assert result.metrics.on("test")["top1"] > 0.55  # 0.39 by chance
        assert any("learns by adamw with a learning rate of" in each for each in result.notes)
