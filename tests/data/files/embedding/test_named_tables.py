"""Pairs, sentences and scored pairs from tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from limbeck import data
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED

PAIRS = "query,positive,n1,n2\n" + "".join(
    f"question {n},answer {n},wrong {n},other {n}\n" for n in range(20)
)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    (tmp_path / "pairs.csv").write_text(PAIRS)
    return tmp_path / "pairs.csv"


def test_pairs_make_groups_and_a_test_among_all_answers(pairs: Path) -> None:
    source = data.load(f'pairs(path="{pairs}", held_out=0.2)')
    assert source.train.together == 2
    assert len(source.train) == 2 * 13
    assert source.test is not None
    assert source.test.judgments is not None
    assert len(source.test) == 4 + 20
    assert source.test.judgments[:, 2].tolist() == [1] * 4


def test_negatives_of_a_row_follow_its_answer(pairs: Path) -> None:
    source = data.load(f'pairs(path="{pairs}", negative=["n1", "n2"])')
    samples = source.train.samples
    assert isinstance(samples, Texts)
    assert source.train.together == 4
    first = [samples.texts()[place] for place in source.train.index[:4].tolist()]
    number = first[0].split()[1]
    assert first == [f"question {number}", f"answer {number}", f"wrong {number}", f"other {number}"]
    assert data.load(f'pairs(path="{pairs}", negative="n1", negatives=0)').train.together == 2


def test_each_row_of_a_pair_brings_its_own_negatives(tmp_path: Path) -> None:
    file = tmp_path / "triplets.csv"
    rows = ["a,b,c", "a,b,d", "a,b,d", "a,e,f", "a,g,b"]
    file.write_text("\n".join(["query,positive,wrong", *rows]))
    source = data.load(f'pairs(path="{file}", negative="wrong", held_out=0)')
    samples = source.train.samples
    assert isinstance(samples, Texts)
    texts = [samples.texts()[place] for place in source.train.index.tolist()]
    groups = ["".join(texts[start : start + 3]) for start in range(0, len(texts), 3)]
    assert groups == ["abc", "abd", "aef", "agc"], "a right answer is no negative"
    source = data.load(f'pairs(path="{file}", negative="wrong", negatives=2, held_out=0)')
    texts = [samples.texts()[place] for place in source.train.index.tolist()]
    groups = ["".join(texts[start : start + 4]) for start in range(0, len(texts), 4)]
    assert groups == ["abcd", "abdc", "aefc", "agcd"], "then come those of the other rows"
    source = data.load(f'pairs(path="{file}", negative="wrong", negatives=0, held_out=0)')
    assert len(source.train) == 2 * 3


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Two pairs, with two negatives and with one."""
    file = tmp_path / "pairs.jsonl"
    file.write_text(
        '{"query": "a", "positive": "b", "wrong": ["c", "d"]}\n'
        '{"query": "e", "positive": "f", "wrong": ["g"]}\n'
    )
    return file


def test_negatives_may_be_lists(uneven: Path) -> None:
    source = data.load(f'pairs(path="{uneven}", negative="wrong", held_out=0)')
    assert source.train.together == 3, "as many as the row with the fewest has"
    assert (source.validation, source.test) == (None, None)
    (note,) = source.notes
    assert note.startswith("1 negatives follow each positive, as many as row 2 of ")
    assert note.endswith(f"{str(uneven)!r} has; others have up to 2")


def test_a_query_with_too_few_negatives_is_left_out_and_counted(uneven: Path) -> None:
    source = data.load(f'pairs(path="{uneven}", negative="wrong", negatives=2, held_out=0)')
    assert len(source.train) == 4, "a, b, c and d"
    (note,) = source.notes
    assert note.startswith(
        "1 pairs of a query and a relevant document have fewer than 2 negatives and are not "
    )
    assert note.endswith("trained on: the query 'e' has 1")


def test_half_of_a_surrogate_pair_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "1", "text": "snow \\ud83d\\ude00"}\n{"_id": "2", "text": "snow \\ud83d rain"}\n'
    )
    with pytest.raises(
        LimbeckError, match=r"line 2 of .*corpus\.jsonl' is no JSON: it has half of a surrogate"
    ):
        data.load(f'retrieval(path="{tmp_path}")')


def test_a_query_in_two_splits_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("query,positive\nwhat,that\n")
    with pytest.raises(LimbeckError, match=r"the query .what. of .* is in the splits train and test"):
        data.load(f'pairs(path="{tmp_path}")')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (', positive="answer"', r"column of .*'answer'"),
        (', negative="n1", negatives=2', r"has 2 negatives: the query .question 0. has 1; give more"),
        (", held_out=1", "held_out"),
    ],
)
def test_pairs_that_cannot_be_are_refused(pairs: Path, arguments: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        data.load(f'pairs(path="{pairs}"{arguments})')


def test_sentences_have_no_labels_and_come_once(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("text\nsnow\nrain\nsnow\n")
    source = data.load(f'sentences(path="{tmp_path / "some.csv"}")')
    samples = source.train.samples
    assert isinstance(samples, Texts)
    assert samples.texts() == ["snow", "rain"]
    assert (source.train.together, source.validation, source.test) == (1, None, None)
    assert torch.equal(source.train.targets, torch.full((2, 3), UNLABELED))
    assert not source.train.has_labels


def test_scored_pairs_are_neighbors_and_equal_sentences_are_one_text(tmp_path: Path) -> None:
    rows = "".join(f"same,other {n},{n / 10}\n" for n in range(10)) + "same,unscored,\n"
    (tmp_path / "some.csv").write_text(f"sentence1,sentence2,score\n{rows}")
    source = data.load(f'similarity(path="{tmp_path / "some.csv"}", held_out=0)')
    assert source.train.index[::2].tolist() == [0] * 11
    assert source.train.targets[:4].tolist() == [[0, 0], [0, 0], [1, 0.1], [1, 0.1]]
    assert source.train.targets[20:, 1].isnan().all()
    assert source.task.counts(source.train.targets) == (10,)


def test_a_score_that_is_no_number_is_refused_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,much\n")
    with pytest.raises(LimbeckError, match="the score of row 2 of the train split is 'much', not a number"):
        data.load(f'similarity(path="{tmp_path / "some.csv"}", held_out=0)')
