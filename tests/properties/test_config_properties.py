from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import example, given, settings
from hypothesis import strategies as st

from limbeck.config import RunConfig, flat, make_config
from limbeck.errors import LimbeckError
from limbeck.runs import Run

KEYS = sorted(flat(make_config(None, {"student": "mlp"}).model_dump(mode="json")))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10min", "auto", "both", "sgd", "cosine", "last", "../x", "crop(padding=4)"])
)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
RECORDS = ("config.yaml", "environment.json", "metrics.jsonl", "result.json")


def _in_a_sentence(error: LimbeckError, naming: str = "") -> None:
    assert str(error)
    assert naming in str(error)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), TREES, max_size=3))
def test_settings_make_a_config_that_its_yaml_gives_back_or_are_refused(values: dict[str, Any]) -> None:
    try:
        made = make_config(None, {"student": "mlp", **values})
    except LimbeckError as error:
        _in_a_sentence(error)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(made.to_yaml(), encoding="utf-8")
        assert make_config(file) == made


@settings(max_examples=60, deadline=None)
@example(b"student: 2001-99-99")
@example(b"student: 0b_")
@example(b"student: !!float x")
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_file_is_a_config_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_bytes(content)
        try:
            assert isinstance(make_config(file), RunConfig)
        except LimbeckError as error:
            _in_a_sentence(error, str(file))


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(RECORDS),
        st.binary(max_size=40) | TREES.map(lambda tree: json.dumps(tree).encode()),
        min_size=1,
    )
)
def test_a_damaged_run_directory_is_read_or_refused(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        run = Run(Path(folder))
        for read in ("config", "environment", "result", "history", "kept", "finished"):
            try:
                getattr(run, read)
            except LimbeckError as error:
                _in_a_sentence(error)
