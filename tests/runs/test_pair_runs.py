"""Runs that a cross-encoder teaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import limbeck
from collections_on_disk import collection
from cross_folders import cross_folder
from encoder_folders import sentence_folder
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.filling import fill

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("ir_measures", reason="ir-measures is not installed")

GIVEN = 'listwise(among="given", teacher_temperature=1)'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    sentence_folder(folder / "encoder")
    cross_folder(folder / "cross")
    collection(folder / "beir", documents=24, queries=16, splits={"train": 8, "dev": 4, "test": 4})
    lines = [f"q{query} Q0 d{query + 1} 1 0.5 x\n" for query in range(8)]
    (folder / "run.txt").write_text("".join(lines))
    return folder


def data(place: Path) -> str:
    return f'retrieval(path="{place / "beir"}", run="{place / "run.txt"}", negatives=1)'


def distilled(place: Path, out: Path, **settings: Any) -> Run:
    given: dict[str, Any] = {"data": data(place), "epochs": 1, "batch_size": 12, "display": False, **settings}
    run: Run = limbeck.distill(
        student=f"hf:{place / 'encoder'}(layers=1)",
        teacher=f"hf:{place / 'cross'}",
        baseline="none",
        out=out,
        **given,
    )
    return run


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_a_filled_cache_answers_a_run(place: Path, tmp_path: Path) -> None:
    given = {"teacher": f"hf:{place / 'cross'}", "data": data(place), "cache_teacher": "logits"}
    *_, first = fill(**given)  # type: ignore[arg-type]
    assert (first.samples, first.done, first.asked) == (16, 16, 16)
    *_, again = fill(**given)  # type: ignore[arg-type]
    assert again.asked == 0
    run = distilled(place, tmp_path / "run", objective=GIVEN, cache_teacher="logits")
    assert run.result.teacher_forwards == 0
    assert run.result.teachers["teacher"].cached == ("logits",)
    live = distilled(place, tmp_path / "live", objective=GIVEN)
    assert live.result.teacher_forwards == 16
    assert set(json.loads((run.path / "evaluation.json").read_text())["networks"]) == {"student"}


@pytest.mark.usefixtures("cache")
def test_embeddings_of_pairs_teach_and_scores_are_the_recipe(place: Path, tmp_path: Path) -> None:
    objective = 'embeddistill(among="given", teacher_temperature=1)'
    run = distilled(place, tmp_path / "run", objective=objective, cache_teacher="both")
    terms = run.history[-1]["terms"]
    assert {"embeddistill.query", "embeddistill.document", "embeddistill.score"} <= set(terms)
    assert all(terms[f"embeddistill.{name}"] > 0 for name in ("query", "document", "score"))
    usual = distilled(place, tmp_path / "usual")
    assert usual.result.objective == f"contrastive + {GIVEN}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"objective": "cosine"},
            "cosine reads the embedding of its teacher, and the teacher is a cross-enc",
        ),
        ({"objective": "listwise"}, "scores it with its own candidates alone"),
        ({"objective": "embeddistill"}, "scores it with its own candidates alone"),
        ({"objective": GIVEN, "settings": {"teacher.outputs": "probabilities"}}, "leave out teacher.outputs"),
        ({"objective": GIVEN, "data": 'sentences(path="{}")'}, "no training query with a candidate"),
    ],
)
def test_what_a_cross_encoder_cannot_teach_is_refused_before_anything_is_written(
    settings: dict[str, Any], message: str, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.csv").write_text("text\nsnow rain\nsoup bread\n")
    if "data" in settings:
        settings = {**settings, "data": settings["data"].format(tmp_path / "texts.csv")}
    with pytest.raises(LimbeckError, match=message):
        distilled(place, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
