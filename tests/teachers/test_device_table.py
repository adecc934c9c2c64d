from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.teachers.device_table import resident, room
from limbeck.teachers.store import Store

CPU = torch.device("cpu")


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, Store]:
    """Twelve rows of 3 numbers, and of 5."""
    made = {}
    for field, width in (("logits", 3), ("embedding", 5)):
        made[field] = Store(tmp_path / field, {"field": field}, width)
        made[field].write(np.arange(12), np.arange(12 * width, dtype=np.float16).reshape(12, width))
    return made


@pytest.mark.parametrize("chunk", [5, 2**16])
def test_whole_files_are_put_on_the_device(
    stores: dict[str, Store], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limbeck.teachers.device_table.room", lambda device: 2 * 12 * 8)
    monkeypatch.setattr("limbeck.teachers.device_table._CHUNK", chunk)
    tables = resident(stores, 12, CPU)
    assert list(tables) == ["logits", "embedding"]
    assert tables["logits"].dtype == torch.float16
    assert tables["logits"].tolist() == torch.arange(36.0).view(12, 3).tolist()
    assert tables["embedding"].tolist() == torch.arange(60.0).view(12, 5).tolist()


def test_nothing_is_where_a_row_or_the_room_is_missing(
    stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room(CPU) == 0
    assert resident(stores, 12, CPU) == {}
    monkeypatch.setattr("limbeck.teachers.device_table.room", lambda device: 2 * 12 * 8)
    assert resident(stores, 13, CPU) == {}, "too large"
    monkeypatch.setattr("limbeck.teachers.device_table.room", lambda device: 10**6)
    assert resident(stores, 13, CPU) == {}, "never written"


def test_a_gpu_gives_a_quarter_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbeck.teachers.device_table.free_on", lambda device: 1000)
    assert room(torch.device("cuda", 0)) == 250
