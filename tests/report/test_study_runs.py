from __future__ import annotations

from pathlib import Path

from limbeck.report.page import Cards
from limbeck.report.study_page import study_page
from limbeck.report.study_runs import pages_of, runs_of
from limbeck.studies.cells import cells_of
from limbeck.studies.outcome import groups
from limbeck.studies.study import read_study
from study_files import write_study
from study_records import records_of


def top1(name: str, seed: int) -> float:
    return 0.7 + seed / 100 + {"teacher": 0.2, "alone": 0.0, "KD": 0.02 + seed % 2 / 100}[name]


def test_every_run_is_there_with_its_curve_its_figure_and_its_page(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path, seeds=5))
    cells = cells_of(study, tmp_path / "a home")
    (kept,) = [cell for cell in cells.students if (cell.objective, cell.config.seed) == ("KD", 3)][:1]
    kept.path.mkdir(parents=True)
    (kept.path / "report.html").touch()
    pages = pages_of(cells.all, tmp_path / "pages")
    assert pages == {kept.key: f"../a%20home/{kept.key}/report.html"}

    first = groups(study, cells, records_of(cells, tmp_path / "made", top1))[0]
    said, teachers, alone, kd = runs_of(first, pages)
    assert str(said).startswith(
        "The runs. A line is top-1 on the validation split over a run's steps, from 40"
    )
    assert isinstance(teachers, Cards)
    assert isinstance(alone, Cards)
    assert isinstance(kd, Cards)
    assert [card.name for card in teachers.cards] == ["big"]
    assert alone.lead == "test top-1 (%): 72.00 ± 1.58, the baseline"
    assert (
        kd.lead == "test top-1 (%): 74.40 ± 1.67; minus alone +2.40 (+1.72 to +3.08) points; verdict: better"
    )
    card = kd.cards[3]
    assert (card.name, card.value, card.note) == ("seed 3", "76.0\N{NO-BREAK SPACE}%", "100 steps")
    assert card.page == pages[kept.key]
    assert [each.page for each in kd.cards if each is not card] == [""] * 4
    # 0.46, 0.56, 0.66 and 0.76 of 0.4 to 0.9
    assert card.path == "25.0,35.2 50.0,27.2 75.0,19.2 100.0,11.2"

    page = study_page(study, groups(study, cells, records_of(cells, tmp_path / "again", top1)), pages)
    assert f'<a href="{pages[kept.key]}">seed 3</a>' in page
    assert page.count("<polyline") >= 11


def test_a_run_that_validated_nothing_has_no_picture(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path, seeds=2))
    cells = cells_of(study, tmp_path / "home")
    made = {
        key: record.model_copy(
            update={"curve": tuple(point._replace(validation=None) for point in record.curve)}
        )
        for key, record in records_of(cells, tmp_path / "made", top1).items()
    }
    *_, kd = runs_of(groups(study, cells, made)[0], {})
    assert isinstance(kd, Cards)
    assert [card.line for card in kd.cards] == [[], []]
    assert kd.lead.endswith("verdict: none from 2 of 5 seeds")
