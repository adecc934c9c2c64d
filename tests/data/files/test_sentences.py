"""Tags of sentences as ids."""

from __future__ import annotations

import pytest

from limbeck.data.files.sentences import Sentence, names_of, padded, tag_ids
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED

TRAIN = [
    Sentence(("Ada", "went"), ("B-PER", "O"), "'a.conll'", line=4),
    Sentence(("Oslo",), (None,), "'a.conll'", line=7),
    Sentence(("then",), None, "'a.conll'", line=9),
]


def test_names_are_given_or_declared_or_those_of_the_training_sentences() -> None:
    assert names_of(TRAIN, (), ()) == ("B-PER", "O")
    assert names_of(TRAIN, ("O", "B-PER"), ()) == ("O", "B-PER")
    assert names_of(TRAIN, ("O", "B-PER"), ("X", "O", "B-PER")) == ("X", "O", "B-PER")
    with pytest.raises(LimbeckError, match=r"every word of 'a.conll' has the tag 'O', and there should be 2"):
        names_of([Sentence(("a", "b"), ("O", "O"), "'a.conll'", line=1)], (), ())


def test_ids_follow_the_names() -> None:
    ids = tag_ids({"train": TRAIN}, ("O", "B-PER"), "the file")["train"]
    assert ids == [[1, 0], [UNLABELED], [UNLABELED]]
    assert padded(ids).tolist() == [[1, 0], [UNLABELED, UNLABELED], [UNLABELED, UNLABELED]]


def test_an_unknown_tag_is_refused_with_its_place() -> None:
    test = [Sentence(("a", "b"), ("O", "B-LOC"), "'b.conll'", line=11)]
    with pytest.raises(
        LimbeckError,
        match=r"the tag 'B-LOC' in line 12 of 'b.conll' is none that 'a.conll' has; name all tags",
    ):
        tag_ids({"test": test}, ("B-PER", "O"), "'a.conll'")
    rows = [Sentence(("a", "b"), ("O", "B-LOC"), "'b.jsonl'", row=3)]
    with pytest.raises(LimbeckError, match=r"the tag 'B-LOC' in word 2 of row 3 of 'b.jsonl' is none"):
        tag_ids({"test": rows}, ("B-PER", "O"), "'a.conll'")
