"""The chain of runs behind a student: teacher, assistant, student; and generations of one network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from small_runs import QUICK, STUDENT, make_student, make_teacher

import limbeck
from finished_runs import finished_run
from limbeck import tasks
from limbeck.config import TeacherConfig
from limbeck.runs import Run
from limbeck.runs.lineage import generations, line, places_of, recorded
from limbeck.runs.recipe import run_of
from limbeck.runs.result import Result, TeacherResult, TeacherRun

TOP1 = tasks.Classification(("a", "b")).primary
ARROW = "\N{RIGHTWARDS ARROW}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, each but the first taught by the one before; the second lies deeper."""
    folder = tmp_path_factory.mktemp("runs")
    make_teacher(folder / "big")
    longer = {"epochs": 8, "batch_size": 50}
    middle = {"student": "mlp(hidden=[9])", "objective": "ce + kd", **longer}
    make_student(folder / "of" / "assistants" / "mid", folder / "big", **middle)
    make_student(folder / "small", folder / "of" / "assistants" / "mid")
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> tuple[Run, Run, Run]:
    big, mid, small = (Run(folder / name) for name in ("big", "of/assistants/mid", "small"))
    return big, mid, small


def test_a_student_s_record_has_the_record_of_each_run_before_it(runs: tuple[Run, Run, Run]) -> None:
    big, mid, small = runs
    teacher = small.result.teachers["teacher"]
    assert runs[-1].environment["places"][teacher.model]["relative"] == "../of/assistants/mid"
    assert teacher.run is not None
    assert teacher.run.model == "mlp(hidden=[9])"
    assert teacher.run.objective == "ce + kd"
    assert teacher.run.data == "digits"
    assert teacher.run.metric == "top1"
    assert teacher.run.metrics == {
        split: mid.result.metrics.on(split)["top1"] for split in ("test", "validation")
    }
    assert teacher.run.teachers == mid.result.teachers
    before = teacher.run.teachers["teacher"]
    assert teacher.run.places == {"teacher": "../../../big"}
    assert before.run is not None
    assert (before.run.model, before.run.objective, before.run.teachers) == ("mlp(hidden=[16])", "ce", {})
    assert before.run.metrics["test"] == big.result.metrics.on("test")["top1"]
    assert before.parameters == big.result.student.parameters


def test_the_generations_are_in_order_with_their_own_figures(runs: tuple[Run, Run, Run]) -> None:
    chain = generations(runs[-1].result, TOP1)
    assert [each.name for each in chain] == ["big", "mid", "student"]
    assert [each.taught_by for each in chain] == [(), ("big",), ("mid",)]
    assert {each.place for each in chain} == {None}
    result = runs[-1].result
    placed = generations(result, TOP1, places_of(result.teachers, runs[-1].environment))
    assert [each.place for each in placed] == ["../big", "../of/assistants/mid", None]
    for each, run in zip(chain, runs, strict=True):
        assert each.metrics["test"] == run.result.metrics.on("test")["top1"]
        assert (each.model, each.parameters) == (run.result.student.model, run.result.student.parameters)
        assert each.objective == run.result.objective
    figures = [f"{100 * run.result.metrics.on('test')['top1']:.1f}\N{NO-BREAK SPACE}%" for run in runs]
    assert (
        line(chain, TOP1) == f"big ({figures[0]}) {ARROW} mid ({figures[1]}) {ARROW} student ({figures[2]})"
    )


def test_the_report_shows_the_chain_and_links_the_pages_that_are_there(
    runs: tuple[Run, Run, Run], folder: Path, tmp_path: Path
) -> None:
    big, mid, small = runs
    page = (small.path / "report.html").read_text(encoding="utf-8")
    links = dict(re.findall(r'<a href="([^"]*)">([^<]*)</a>', page))
    assert links == {"../big/report.html": "big", "../of/assistants/mid/report.html": "mid"}
    for address in links:
        assert (small.path / address).is_file()
    line_of = line(generations(small.result, TOP1), TOP1)
    assert f"<p>{line_of}.</p>" in page
    test = 100 * mid.result.metrics.on("test")["top1"]
    row = rf"mid</a></th>\s*<td[^>]*>mlp\(hidden=\[9\]\)</td><td[^>]*>{mid.result.student.parameters}</td>"
    assert re.search(rf"{row}<td[^>]*>ce \+ kd</td><td[^>]*>big</td><td[^>]*>{test:.2f}</td>", page)
    assert "<a href" not in (big.path / "report.html").read_text(encoding="utf-8")
    assert "Which runs it came from" not in (big.path / "report.html").read_text(encoding="utf-8")


def test_the_card_tells_the_chain(runs: tuple[Run, Run, Run]) -> None:
    big, mid, small = runs
    text = (small.path / "README.md").read_text(encoding="utf-8")
    assert f"| chain of teachers | {line(generations(small.result, TOP1), TOP1)} |" in text
    told = f"{100 * mid.result.metrics.on('test')['top1']:.1f}\N{NO-BREAK SPACE}%"
    size = mid.result.student.parameters
    made = f"`mlp(hidden=[9])`, {size} parameters, trained by `ce + kd`, taught by `big`, test top-1 {told}"
    assert f"| teacher `mid` | {made} |" in text
    assert "chain of teachers" not in (big.path / "README.md").read_text(encoding="utf-8")


def test_the_record_stays_whole_when_the_runs_before_are_gone(
    runs: tuple[Run, Run, Run], tmp_path: Path
) -> None:
    _, mid, small = runs
    moved = Run(Path(shutil.copytree(small.path, tmp_path / "alone")))
    assert generations(moved.result, TOP1) == generations(small.result, TOP1)
    copied = Run(Path(shutil.copytree(mid.path, tmp_path / "mid")))
    student = make_student(tmp_path / "student", copied.path)
    chain = generations(student.result, TOP1)
    assert [each.name for each in chain] == ["big", "mid", "student"], "from what the copied run recorded"
    page = (student.path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<a href="([^"]*)">', page) == ["../mid/report.html"], (
        "the first lies no more where it did"
    )


def test_a_network_that_taught_twice_is_there_once(runs: tuple[Run, Run, Run], tmp_path: Path) -> None:
    big, mid, _ = runs
    both = {name: {"model": str(run.path), "trust": True} for name, run in (("a", mid), ("b", big))}
    run = limbeck.distill(
        student=STUDENT,
        out=tmp_path / "run",
        objective='ce + dgkd(teachers=["a", "b"])',
        **{**QUICK, "settings": {**QUICK["settings"], "teachers": both}},
    )
    chain = generations(run.result, TOP1)
    assert [(each.name, each.taught_by) for each in chain] == [
        ("big", ()),
        ("mid", ("big",)),
        ("student", ("mid", "big")),
    ]
    assert line(chain, TOP1) is None
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert re.search(r"<th scope=\"row\">student</th>.*<td[^>]*>mid, big</td>", page)
    assert ARROW not in page.partition("<main>")[2].partition("</main>")[0]
    text = (run.path / "README.md").read_text(encoding="utf-8")
    assert "chain of teachers" not in text
    assert "| teacher `big` | " in text


def teacher(model: str, run: TeacherRun | None) -> TeacherResult:
    return TeacherResult(model=model, weights=model, parameters=100, run=run)


def run_by(objective: str = "kd", metric: str = "top1", **teachers: TeacherResult) -> TeacherRun:
    return TeacherRun(
        model="mlp",
        objective=objective,
        data="digits",
        metric=metric,
        metrics={"test": 0.5},
        teachers=teachers,
    )


def result_of(tmp_path: Path, **teachers: TeacherResult) -> Result:
    number = len(list(tmp_path.iterdir()))
    return finished_run(tmp_path / str(number)).result.model_copy(update={"teachers": teachers})


def test_generations_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    first = teacher("runs/first/student", run_by("ce"))
    second = teacher("runs/second/student", run_by(teacher=first))
    again = teacher("runs/second/student/", run_by(teacher=second))
    chain = generations(result_of(tmp_path, teacher=again), TOP1)
    names = [each.name for each in chain]
    assert names == ["first/student", "second/student", "runs/second/student", "student"]
    assert [each.taught_by for each in chain] == [(), *((name,) for name in names[:-1])]


def test_a_teacher_that_is_no_run_has_its_name_and_no_figures(tmp_path: Path) -> None:
    zoo = teacher("timm:resnet18", None)
    assert generations(result_of(tmp_path, big=zoo), TOP1) == []
    middle = teacher("runs/middle", run_by(big=zoo))
    chain = generations(result_of(tmp_path, teacher=middle), TOP1)
    assert [(each.name, each.model, each.objective) for each in chain[:2]] == [
        ("big", "timm:resnet18", None),
        ("middle", "mlp", "kd"),
    ]
    assert line(chain, TOP1) == (
        f"big {ARROW} middle (50.0\N{NO-BREAK SPACE}%) {ARROW} student (80.0\N{NO-BREAK SPACE}%)"
    )


def test_a_figure_of_another_metric_is_not_shown_as_this_one(tmp_path: Path) -> None:
    chain = generations(result_of(tmp_path, teacher=teacher("runs/a", run_by(metric="map"))), TOP1)
    assert [each.metrics for each in chain] == [{}, {"test": 0.8}]


def test_only_a_finished_run_that_gives_the_weights_is_the_teacher_s_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "t", "kd")
    assert run_of(TeacherConfig(model=str(run.path))) == run
    assert recorded(run).metrics == {"test": 0.8}
    file = run.path / "student.safetensors"
    for config in (
        TeacherConfig(model=str(file)),
        TeacherConfig(model="resnet8", weights=file),
        TeacherConfig(model="timm:resnet18"),
        TeacherConfig(model=f'ensemble("{run.path}", "{run.path}")'),
    ):
        assert run_of(config) is None
    (run.path / "result.json").unlink()
    assert run_of(TeacherConfig(model=str(run.path))) is None


def test_a_record_of_before_there_were_chains_is_read(runs: tuple[Run, Run, Run], tmp_path: Path) -> None:
    record = json.loads((runs[-1].path / "result.json").read_text(encoding="utf-8"))
    del record["teachers"]["teacher"]["run"]
    (tmp_path / "result.json").write_text(json.dumps(record))
    found = Result.read(tmp_path / "result.json")
    assert found.teachers["teacher"].run is None
    assert generations(found, TOP1) == []


def test_a_resumed_run_has_the_same_chain(folder: Path, runs: tuple[Run, Run, Run], tmp_path: Path) -> None:
    before = runs[-1].result
    assert limbeck.distill(out=runs[-1].path, resume=True, display=False).result == before


def test_born_again_generations_are_runs_like_any_other(runs: tuple[Run, Run, Run], tmp_path: Path) -> None:
    again = {"student": "mlp(hidden=[16])", "objective": "ce + kd", "epochs": 8, "batch_size": 50}
    first = make_student(tmp_path / "gen1", runs[0].path, **again)
    second = make_student(tmp_path / "gen2", first.path, **again, seed=1)
    chain = generations(second.result, TOP1)
    assert [each.name for each in chain] == ["big", "gen1", "student"]
    assert {each.model for each in chain} == {"mlp(hidden=[16])"}
    assert {each.parameters for each in chain} == {runs[0].result.student.parameters}
