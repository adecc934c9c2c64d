"""Runs of encoders: from a collection to a folder for sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from collections_on_disk import collection
from encoder_folders import sentence_folder
from limbeck.data.tokenization import tokenization
from limbeck.errors import LimbeckError
from limbeck.models.encoders import StaticEncoder, encoder
from limbeck.models.encoders.towers import Towers
from limbeck.runs import Run
from limbeck.runs.exporting import export

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("ir_measures", reason="ir-measures is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    sentence_folder(folder / "encoder", prompts={"query": "snow "})
    collection(folder / "beir", documents=24, queries=16, splits={"train": 8, "dev": 4, "test": 4})
    return folder


def distilled(place: Path, out: Path, student: str, **settings: Any) -> Run:
    given: dict[str, Any] = {"epochs": 1, "batch_size": 16, "baseline": "none", "display": False}
    given |= {"data": f'retrieval(path="{place / "beir"}")', **settings}
    run: Run = limbeck.distill(
        student=student.format(place / "encoder"),
        teacher=f"hf:{place / 'encoder'}",
        out=out,
        **given,
    )
    return run


def test_a_student_of_fewer_layers_is_shipped_for_sentence_transformers(place: Path, tmp_path: Path) -> None:
    run = distilled(place, tmp_path / "run", "hf:{}(layers=2)")
    result = json.loads((run.path / "evaluation.json").read_text())
    found = result["networks"]
    assert set(found) == {"student", "teacher"}
    assert set(found["student"]["metrics"]) == {"ndcg10", "recall100", "mrr10", "map"}
    assert found["teacher"]["findings"]["documents"] == 24
    assert found["teacher"]["findings"]["queries"] == 4
    assert 0 <= result["agreement"]["agreement"] <= 1
    student = limbeck.load(run)
    exported = export(run.path, "hf", out=tmp_path / "folder")
    again = encoder(f"hf:{exported.file}").eval()
    tokens = tokenization(str(exported.file), 12).tokenize(["soup bread", "map"]).batch(torch.arange(2))
    with torch.no_grad():
        assert torch.equal(again(**tokens), student(**tokens))
    prompts = json.loads((exported.file / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "snow "}, "queries are read behind the prompt of the teacher's folder"


def test_a_folder_is_checked_on_few_texts_as_an_embedding_decides_nothing(
    place: Path, tmp_path: Path
) -> None:
    run = distilled(place, tmp_path / "run", 'static("{}", dim=4)')
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f"snow {n}\n" for n in range(150)))
    found = export(run.path, "hf", tmp_path / "folder", data=f'sentences(path="{tmp_path / "texts.csv"}")')
    assert "agrees with the student on 100 samples of the training split" in found.lines[-1]
    assert "in batches of 1, 2, 32, 65: outputs differ by" in found.lines[-1]


def test_static_embeddings_learn_from_an_encoder(place: Path, tmp_path: Path) -> None:
    run = distilled(place, tmp_path / "run", 'static("{}", dim=4)', cache_teacher="embedding")
    student = limbeck.load(run)
    assert isinstance(student, StaticEncoder)
    assert student.table.weight.shape[1] == 4
    exported = export(run.path, "hf", out=tmp_path / "folder")
    again = encoder(f"hf:{exported.file}")
    assert torch.equal(again.state_dict()["table.weight"], student.table.weight)
    further = distilled(place, tmp_path / "further", f"hf:{exported.file}", cache_teacher="embedding")
    learned = limbeck.load(further)
    assert isinstance(learned, StaticEncoder)
    assert learned.table.weight.shape == student.table.weight.shape
    assert not torch.equal(learned.table.weight, student.table.weight)


def test_a_finished_run_teaches_and_is_measured_on_other_data(place: Path, tmp_path: Path) -> None:
    first = limbeck.train(
        model=f"hf:{place / 'encoder'}(layers=2)",
        data=f'retrieval(path="{place / "beir"}")',
        out=tmp_path / "first",
        epochs=1,
        batch_size=16,
        display=False,
    )
    assert first.config.objective == "contrastive"
    second = limbeck.distill(
        student=f"hf:{place / 'encoder'}(layers=1)",
        teacher=str(first.path),
        data=f'retrieval(path="{place / "beir"}")',
        objective="contrastive + embeddistill",
        out=tmp_path / "second",
        epochs=1,
        batch_size=16,
        baseline="none",
        display=False,
    )
    terms = second.history[-1]["terms"]
    assert {"contrastive", "embeddistill.query", "embeddistill.document", "embeddistill.score"} <= set(terms)
    rows = "".join(f"soup {n},bread {n},{n}\n" for n in range(8))
    (tmp_path / "scored.csv").write_text(f"sentence1,sentence2,score\n{rows}")
    found = limbeck.evaluate(second, f'similarity(path="{tmp_path / "scored.csv"}", held_out=0.5)')
    assert set(found.student.metrics) == {"spearman", "pearson"}


def test_negatives_that_are_not_there_are_missed_before_anything_is_written(
    place: Path, tmp_path: Path
) -> None:
    for objective in ("margin_mse", 'cosine + listwise(among="given")', 'embeddistill(among="given")'):
        with pytest.raises(
            LimbeckError, match="is followed by its relevant document alone; give data with neg"
        ):
            distilled(place, tmp_path / "run", "hf:{}(layers=2)", objective=objective)
    assert not (tmp_path / "run").exists()


def test_limbecks_own_networks_read_the_tokens_of_the_data(place: Path, tmp_path: Path) -> None:
    run = distilled(place, tmp_path / "run", "textcnn(num_classes=8)")
    assert run.result.metrics.test is not None
    assert 0 <= run.result.metrics.test["ndcg10"] <= 1


def test_methods_for_classes_are_refused_by_name(place: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match="ce chooses among classes, and the outputs of retrieval are vectors"
    ):
        distilled(place, tmp_path / "run", "hf:{}(layers=2)", objective="ce + cosine")
    assert not (tmp_path / "run").exists()


def test_a_small_tower_for_queries_searches_the_documents_of_the_teacher(place: Path, tmp_path: Path) -> None:
    student = 'towers("hf:{0}(layers=1)", "hf:{0}", freeze=true)'
    run = distilled(place, tmp_path / "run", student, objective="embeddistill", lr=0.05)
    teacher = encoder(f"hf:{place / 'encoder'}").eval()
    found = limbeck.load(run)
    assert isinstance(found, Towers)
    theirs, documents = teacher.state_dict(), found.document.state_dict()
    assert all(torch.equal(documents[name], each) for name, each in theirs.items()), (
        "its index is the teacher's"
    )
    queries = found.query.state_dict()
    assert not all(torch.equal(each, theirs[name]) for name, each in queries.items())
    assert run.history[-1]["terms"]["embeddistill.document"] == pytest.approx(0.0, abs=1e-6)
    measured = limbeck.evaluate(run, overwrite=True)
    assert measured.student.metrics["ndcg10"] == pytest.approx((run.result.metrics.test or {})["ndcg10"])
    exported = export(run.path, "hf", out=tmp_path / "folder")
    again = encoder(f"hf:{exported.file / 'query'}").state_dict()
    assert all(torch.equal(again[name], each) for name, each in queries.items())
    with pytest.raises(
        LimbeckError, match="is two encoders, of queries and of documents, and onnx holds one"
    ):
        export(run.path, "onnx")


def test_towers_of_different_widths_need_a_layer(place: Path, tmp_path: Path) -> None:
    student = 'towers("hf:{0}(layers=1, dim=4)", "hf:{0}", freeze=true)'
    with pytest.raises(LimbeckError, match="the query tower gives 4 numbers and the document tower 16"):
        distilled(place, tmp_path / "run", student)
    with pytest.raises(LimbeckError, match="towers names the encoder of queries and that of documents"):
        distilled(place, tmp_path / "run", 'towers("hf:{0}")')
    run = distilled(place, tmp_path / "run", 'towers("hf:{0}(layers=1, dim=16)", "hf:{0}", freeze=true)')
    assert run.result.student.parameters > 0


def test_scored_pairs_have_no_candidates(place: Path, tmp_path: Path) -> None:
    """What ranks documents is refused before anything is written; EmbedDistill matches embeddings alone."""
    rows = "".join(f"soup {n},bread {n},{n}\n" for n in range(12))
    (tmp_path / "scored.csv").write_text(f"sentence1,sentence2,score\n{rows}")
    scored = f'similarity(path="{tmp_path / "scored.csv"}", held_out=0.25)'
    for objective in ("cosine + listwise", "contrastive + cosine", "margin_mse"):
        with pytest.raises(LimbeckError, match="compares queries with documents, which similarity has not"):
            distilled(place, tmp_path / "run", "hf:{}(layers=2)", objective=objective, data=scored)
        assert not (tmp_path / "run").exists()
    with pytest.raises(
        LimbeckError, match="compare nothing but scores of documents, and similarity has none"
    ):
        distilled(
            place,
            tmp_path / "run",
            "hf:{}(layers=2)",
            objective="embeddistill(query=0, document=0)",
            data=scored,
        )
    run = distilled(place, tmp_path / "run", "hf:{}(layers=2)", objective="embeddistill", data=scored)
    assert "embeddistill.score" not in run.history[-1]["terms"]


def test_towers_of_two_widths_are_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match=r"^the query tower gives 8 numbers and the document tower \d+; give"
    ):
        distilled(place, tmp_path / "run", 'towers("hf:{0}(layers=2, dim=8)", "hf:{0}")')
