"""Where tokens end, and the spans of text that two tokenizers both have tokens of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limbeck.data.language.token_places import places, spans, stretches
from limbeck.data.language.tokens import Tokens
from limbeck.retold import APART

END = 0


def document(sizes: Sequence[int], learned: Sequence[bool] | None = None) -> Tokens:
    """Tokens of so many bytes each; 0 is the special one, -1 a piece without a byte of its own."""
    made = np.array(sizes)
    told = np.ones(len(made), dtype=bool) if learned is None else np.array(learned)
    return Tokens(np.where(made == 0, END, 7), told, made.clip(min=0))


def of(ours: Tokens, theirs: Tokens, rows: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
    """The spans, where the first token is not predicted and all others are in one row."""
    first = [0] * (len(ours) - 1) if rows is None else rows
    one, other = spans(
        (places(ours, {END}), ours.learned, np.array([APART, *first])),
        (places(theirs, {END}), theirs.learned, np.array([APART, *([0] * (len(theirs) - 1))])),
    )
    return one.tolist(), other.tolist()


def test_equal_places_are_equal_bytes() -> None:
    ours, theirs = places(document([0, 2, 3, 0]), {END}), places(document([0, 5, 0]), {END})
    assert [place in ours.tolist() for place in theirs.tolist()] == [True, True, True]
    assert ours[1] not in theirs
    assert (np.diff(ours) > 0).all()


def test_a_piece_without_bytes_ends_where_the_one_before_it_does() -> None:
    made = places(document([2, -1, 1]), {END})
    assert made[0] == made[1] < made[2]


def test_what_is_not_learned_counts_for_nothing() -> None:
    ours = document([4, 1, 2, 9, 3], [False, True, True, False, True])
    theirs = document([0, 8, 8, 3, 9, 9, 3], [False, False, False, True, False, False, True])
    assert set(places(theirs, {END})[[3, 6]]) <= set(places(ours, {END}))
    assert (stretches(places(ours, {END})) == [[0, 3], [1, 3]]).all()
    assert (stretches(places(theirs, {END})) == [[0, 3], [1, 3]]).all()
    assert of(ours, theirs) == ([APART, 0, 0, APART, 1], [APART, APART, APART, 0, APART, APART, 1])


def test_a_span_is_the_shortest_text_that_both_have_tokens_of() -> None:
    # abc|d|ef|g and ab|cd|e|f|g, between marks of their ends
    ours, theirs = document([0, 3, 1, 2, 1, 0]), document([0, 2, 2, 1, 1, 1, 0])
    assert of(ours, theirs) == ([APART, 0, 0, 1, 2, 3], [APART, 0, 0, 1, 1, 2, 3])


def test_ends_match_the_same_ends_alone() -> None:
    assert of(document([0, 2, 0]), document([0, 2])) == ([APART, 0, APART], [APART, 0])
    assert of(document([0, 2, 0, 0]), document([0, 2, 0])) == ([APART, 0, 1, APART], [APART, 0, 1])


def test_what_only_one_predicts_is_in_no_span() -> None:
    # The second has no mark of the beginning, so that it does not predict its first token.
    assert of(document([0, 1, 1, 2, 1]), document([2, 2, 1])) == ([APART, APART, APART, 0, 1], [APART, 0, 1])


def test_a_span_does_not_go_on_in_the_next_row() -> None:
    ours, theirs = document([0, 1, 1, 2, 2]), document([0, 2, 2, 2])
    assert of(ours, theirs, [0, 1, 0, 0]) == ([APART, APART, APART, 0, 1], [APART, APART, 0, 1])


def test_spans_are_counted_on() -> None:
    place, row = places(document([0, 1]), {END}), np.array([APART, 3])
    one, _ = spans((place, np.ones(2, dtype=bool), row), (place, np.ones(2, dtype=bool), row), 41)
    assert one.tolist() == [APART, 41]
