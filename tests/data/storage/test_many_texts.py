from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collections_on_disk import collection
from limbeck import data, growing
from limbeck.data.storage.many_texts import ManyTexts, Prompted, TextsByName
from limbeck.data.storage.texts import Texts

SOME = ["snow", "", "Grüße", "ice" * 1000, "\ud800"]


def test_texts_come_back_as_they_went_in() -> None:
    texts = ManyTexts(SOME[:2])
    assert [*texts] == SOME[:2]
    texts.extend(SOME[2:])
    assert [*texts] == SOME
    assert (texts[-1], texts[2], texts[1:3], len(texts)) == (SOME[-1], SOME[2], SOME[1:3], 5)
    with pytest.raises(IndexError):
        texts[5]


def test_texts_by_name_and_behind_prompts() -> None:
    named = TextsByName()
    for at, text in enumerate(SOME):
        named.add(f"d{at}", text)
    assert dict(named) == {f"d{at}": text for at, text in enumerate(SOME)}
    assert "d4" in named
    assert "d5" not in named
    asked = Prompted(["a", "b"], ["query", "document"], {"query": "find: "})
    assert [*asked] == asked[:] == ["find: a", "b"]


def test_a_collection_that_is_large_lies_in_files_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection(tmp_path)
    files: list[int] = []
    made: Any = np.memmap

    def memmap(*args: Any, dtype: Any, shape: tuple[int, ...], **kwargs: Any) -> Any:
        files.append(np.dtype(dtype).itemsize)
        return made(*args, dtype=dtype, shape=shape, **kwargs)

    monkeypatch.setattr(np, "memmap", memmap)
    small = data.load("retrieval", tmp_path)
    assert files == []
    monkeypatch.setattr(growing, "RESIDENT", 100)
    large = data.load("retrieval", tmp_path)
    assert set(files) == {1, 8}  # bytes of texts, and tokens
    assert isinstance(small.train.samples, Texts)
    assert isinstance(large.train.samples, Texts)
    assert [*large.train.samples.corpus.texts] == [*small.train.samples.corpus.texts]
    assert large.train.samples.fingerprint == small.train.samples.fingerprint
    assert large.train.samples.corpus.fingerprint == small.train.samples.corpus.fingerprint
