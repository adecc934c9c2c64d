from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import views
from limbeck.errors import LimbeckError
from limbeck.notation import Call, Sum, parse, parse_call
from limbeck.objective import parse as parse_objective

NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(
    lambda name: name.isidentifier() and name not in ("and", "or", "not", "in", "is", "if", "for", "as")
)
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False, width=32)
PLAIN: st.SearchStrategy[Any] = st.booleans() | NUMBERS | st.text(max_size=12)
CALLS: st.SearchStrategy[Call] = st.deferred(
    lambda: st.builds(
        Call,
        NAMES,
        st.lists(VALUES, max_size=2).map(tuple),
        st.dictionaries(NAMES, VALUES, max_size=2),
    )
)
VALUES: st.SearchStrategy[Any] = st.deferred(lambda: PLAIN | st.lists(PLAIN, max_size=3) | CALLS)
WEIGHTS = st.floats(0.001, 1000).map(lambda weight: float(f"{weight:.12g}"))
SUMS = st.lists(st.tuples(WEIGHTS, CALLS), min_size=1, max_size=3).map(lambda terms: Sum(tuple(terms)))


@settings(max_examples=60, deadline=None)
@given(SUMS)
def test_what_is_written_is_read_as_it_was(written: Sum) -> None:
    try:
        read = parse(str(written))
    except LimbeckError as error:
        _is_about(error, "deep", "keyword", "long", "cannot be parsed", "syntax")
        return
    assert str(read) == str(written)
    assert parse(str(read)) == read


def _is_about(error: LimbeckError, *reasons: str) -> None:
    """What the notation cannot write: too deep a nest, a word of Python's own."""
    assert any(reason in str(error) for reason in reasons)


def _in_a_sentence(error: LimbeckError) -> None:
    assert str(error)


SIGNS = [*"()+*,=-[]{}.:#'\\\n \x00", '"']
WORDS = ["ce", "kd", "mgd", "crop", "temperature", "0.5", "4", "1e999", "True", "lambda", "__import__", "é"]
PIECES = st.sampled_from([*SIGNS, *WORDS])


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=30))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    for read in (parse, lambda each: parse_call(each, "model"), parse_objective, views.parse):
        try:
            found = read(text)
        except LimbeckError as error:
            _in_a_sentence(error)
        else:
            assert str(found)
