"""Hard negatives: what a network ranks high, without what is relevant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from collections_on_disk import collection
from encoder_folders import sentence_folder
from limbeck import data
from limbeck.data.storage.texts import Texts
from limbeck.data.tokenization import tokenization
from limbeck.errors import LimbeckError
from limbeck.models.encoders import encoder
from limbeck.runs.mining import mine

pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mining")
    sentence_folder(folder / "encoder", initializer_range=0.5)
    collection(folder / "beir", documents=12, queries=5, splits={"train": 4, "test": 1})
    return folder


def rankings(file: Path) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for line in file.read_text().splitlines():
        query, _, document, rank, score, name = line.split()
        found.setdefault(query, []).append((document, float(score)))
        assert (int(rank), name) == (len(found[query]), "limbeck")
    return found


def by_hand(place: Path) -> dict[str, list[tuple[str, float]]]:
    """Every document by its cosine with each training query, the highest first."""
    source = data.load(f'retrieval(path="{place / "beir"}", held_out=0)')
    samples = source.train.samples
    assert isinstance(samples, Texts)
    tokens = tokenization(str(place / "encoder"), 12).tokenize(samples.texts())
    with torch.no_grad():
        vectors = encoder(f"hf:{place / 'encoder'}").eval()(**tokens.batch(torch.arange(len(samples))))
    ids, kinds = samples.corpus.ids, samples.corpus.kinds
    documents = [row for row, kind in enumerate(kinds) if kind == "document"]
    found = {}
    for row in (ids.index(f"q{number}") for number in range(4)):
        scores = [(ids[each], float(vectors[row] @ vectors[each])) for each in documents]
        found[ids[row]] = sorted(scores, key=lambda pair: -pair[1])
    return found


def test_the_run_is_the_ranking_without_the_relevant_document(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.txt"
    assert (
        mine(f"hf:{place / 'encoder'}", f'retrieval(path="{place / "beir"}", held_out=0)', out, depth=5) == 4
    )
    for query, ranked in rankings(out).items():
        expected = [pair for pair in by_hand(place)[query] if pair[0] != query.replace("q", "d")][:5]
        assert [score for _, score in ranked] == pytest.approx([score for _, score in expected], abs=1e-5)
        assert query.replace("q", "d") not in dict(ranked)


def test_what_is_too_near_to_the_relevant_document_is_left_out(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.txt"
    mine(f"hf:{place / 'encoder'}", f'retrieval(path="{place / "beir"}", held_out=0)', out, skip=1, below=0.9)
    assert rankings(out), "of some query"
    for query, ranked in rankings(out).items():
        every = dict(by_hand(place)[query])
        best = every.pop(query.replace("q", "d"))
        expected = sorted((score for score in every.values() if score <= 0.9 * best), reverse=True)[1:]
        assert [score for _, score in ranked] == pytest.approx(expected, abs=1e-5)


def test_the_run_gives_the_negatives_of_the_data(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.txt"
    mine(f"hf:{place / 'encoder'}", f'retrieval(path="{place / "beir"}", held_out=0)', out)
    source = data.load(f'retrieval(path="{place / "beir"}", run="{out}", negatives=2, held_out=0)')
    samples = source.train.samples
    assert isinstance(samples, Texts)
    group = [samples.corpus.ids[each] for each in source.train.index[:4].tolist()]
    assert group[2:] == [document for document, _ in rankings(out)[group[0]][:2]]


def test_what_is_below_is_found_however_many_documents_are_nearer(place: Path, tmp_path: Path) -> None:
    data_set, out = f'retrieval(path="{place / "beir"}", held_out=0)', tmp_path / "run.txt"
    every = by_hand(place)
    expected = {}
    for query, ranked in every.items():
        best = dict(ranked)[query.replace("q", "d")]
        expected[query] = [document for document, score in ranked if score <= 0.9 * best][:1]
    assert any(expected.values())
    assert any(ids and ids[0] != every[query][1][0] for query, ids in expected.items())
    assert mine(f"hf:{place / 'encoder'}", data_set, out, depth=1, below=0.9) == sum(
        map(len, expected.values())
    ), "queries with a negative"
    found = rankings(out)
    assert {query: [document for document, _ in ranked] for query, ranked in found.items()} == {
        query: ids for query, ids in expected.items() if ids
    }


def test_a_run_without_negatives_is_not_written(place: Path, tmp_path: Path) -> None:
    data_set, out = f'retrieval(path="{place / "beir"}", held_out=0)', tmp_path / "run.txt"
    with pytest.raises(LimbeckError, match="none of the 4 training queries has a negative with skip=100"):
        mine(f"hf:{place / 'encoder'}", data_set, out, skip=100)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth should be at least 1, skip at least 0 and below in"),
        ({"below": 1.5}, "below in"),
        ({"model": "static('./nowhere')"}, "there is no folder|nowhere"),
        ({"data": "digits"}, "negatives are mined for retrieval, and digits is for classification"),
    ],
)
def test_what_cannot_be_mined_is_refused(
    place: Path, tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    given = {
        "model": f"hf:{place / 'encoder'}",
        "data": f'retrieval(path="{place / "beir"}", held_out=0)',
        **arguments,
    }
    with pytest.raises(LimbeckError, match=message):
        mine(out=tmp_path / "run.txt", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "run.txt").exists()


def test_a_file_that_is_there_is_replaced_only_if_said(place: Path, tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("mine")
    with pytest.raises(LimbeckError, match="is there already; say overwrite=True"):
        mine(
            f"hf:{place / 'encoder'}", f'retrieval(path="{place / "beir"}", held_out=0)', tmp_path / "run.txt"
        )
    assert (tmp_path / "run.txt").read_text() == "mine"
