from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from limbeck.data.memory import budget
from limbeck.errors import LimbeckError


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("4 GiB", 4 * 2**30),
        ("500MB", 500_000_000),
        ("1.5 KiB", 1536),
        ("2 TB", 2 * 10**12),
        ("0 B", 0),
        (" 7 ", 7),
    ],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert budget(text) == bytes_


def test_auto_is_half_of_what_is_free_for_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8000))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert budget("auto") == 4000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert budget("auto") == 1000


@pytest.mark.parametrize("text", ["", "lots", "-1 GB", "4 gigs", "GB", "1e9"])
def test_refuses(text: str) -> None:
    with pytest.raises(LimbeckError, match='memory should be a size such as "4 GiB"'):
        budget(text)
