"""PairTeacher: a cross-encoder's scores and embeddings of pairs, live and from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from collections_on_disk import collection
from cross_folders import cross_folder
from limbeck import data
from limbeck.config import TeacherConfig
from limbeck.data import Loader, Source
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch
from limbeck.runs.pair_teachers import pair_teacher
from limbeck.teachers import PairTeacher

pytest.importorskip("transformers")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    folder = collection(tmp_path / "data", documents=8, queries=4)
    return data.load(f'retrieval(path="{folder}", held_out=0)')


@pytest.fixture
def made(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    folder = cross_folder(tmp_path / "cross")

    def make(cache: Any = None, pooled: bool = True) -> PairTeacher:
        return pair_teacher(TeacherConfig(model=f"hf:{folder}", cache=cache), source, pooled=pooled)

    return make, folder


def batches(source: Source) -> list[Batch]:
    return list(Loader(source.train, 6, shuffle=True, seed=3))


def by_hand(folder: Path, query: str, document: str) -> tuple[float, Tensor]:
    """Score and embeddings (2, D) by transformers alone."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = tokenizer(query, document, return_tensors="pt")
    sides = encoded.encodings[0].sequence_ids
    with torch.no_grad():
        found = network(**encoded, output_hidden_states=True)
    states = found.hidden_states[-1][0]
    means = [states[[place for place, its in enumerate(sides) if its == side]].mean(0) for side in (0, 1)]
    return float(found.logits[0, 0]), torch.stack(means)


def test_each_candidate_has_the_score_and_the_embeddings_of_its_pair(made: Any, source: Source) -> None:
    make, folder = made
    teacher, samples = make(), source.train.samples
    assert isinstance(samples, Texts)
    texts, checked = samples.texts(), 0
    for batch in batches(source):
        assert batch.targets is not None
        assert batch.index is not None
        outputs = teacher(batch)
        query = ""
        for row, (number, document, _) in enumerate(batch.targets.tolist()):
            text = texts[int(batch.index[row])]
            if number >= 0 and document < 0:
                query = text
            if number < 0 or document < 0:
                assert outputs["scores"][row].isnan()
                assert not outputs["pairs"][row].any()
                continue
            score, pooled = by_hand(folder, query, text)
            assert float(outputs["scores"][row]) == pytest.approx(score, abs=1e-5)
            torch.testing.assert_close(outputs["pairs"][row], pooled, atol=1e-5, rtol=1e-4)
            checked += 1
    assert checked == 4


def test_answers_are_read_back_and_the_first_is_rounded_as_well(made: Any, source: Source) -> None:
    make, _ = made
    first, batch = make("both"), batches(source)[0]
    said = first(batch)
    assert first.shown > 0
    second = make("both")
    before = second.shown
    again = second(batch)
    assert second.shown == before
    torch.testing.assert_close(again["scores"], said["scores"], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(again["pairs"], said["pairs"], rtol=0, atol=0)
    live = make()(batch)
    torch.testing.assert_close(live["scores"].half().float(), said["scores"], rtol=0, atol=0, equal_nan=True)


def test_what_is_kept_in_part_is_asked_live(made: Any) -> None:
    make, _ = made
    assert make("logits").cached == ()
    assert make("logits", pooled=False).cached == ("logits",)


def test_another_network_and_other_pairs_have_other_files(made: Any, source: Source, tmp_path: Path) -> None:
    make, _ = made
    make("logits", pooled=False)(batches(source)[0])
    other = cross_folder(tmp_path / "other", seed=1)
    teacher = pair_teacher(TeacherConfig(model=f"hf:{other}", cache="logits"), source, pooled=False)
    known = torch.arange(len(teacher.pairs_known))
    assert teacher.missing(known, torch.device("cpu")).all()


def test_a_pair_that_the_data_does_not_have_is_refused(made: Any, source: Source) -> None:
    make, _ = made
    batch = Batch(
        torch.zeros(1, 2), torch.tensor([[0, 1, 1]]), index=torch.tensor([int(source.train.index.max())])
    )
    with pytest.raises(LimbeckError, match="candidate that the training data does not have"):
        make()(batch)
