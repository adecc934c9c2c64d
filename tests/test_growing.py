from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from limbeck import growing
from limbeck.growing import Growing


def grown(parts: list[Tensor]) -> Tensor:
    made = Growing()
    for part in parts:
        made.add(part)
    assert len(made) == sum(map(len, parts))
    return made.read()


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_it_gives_back_what_it_took_in(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    parts = [torch.arange(n * 3).view(n, 3)[(..., 0) if shape == () else ...].to(dtype) for n in (7, 0, 2500)]
    assert torch.equal(grown(parts), torch.cat(parts))


def test_a_large_one_lies_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def memmap(*args: Any, shape: tuple[int, ...], **kwargs: Any) -> Any:
        sizes.append(shape)
        return made(*args, shape=shape, **kwargs)

    made: Any = np.memmap
    monkeypatch.setattr(np, "memmap", memmap)
    parts = [torch.randn(900, 4), torch.randn(900, 4), torch.randn(900, 4)]
    assert torch.equal(grown(parts), torch.cat(parts))
    assert sizes == []
    monkeypatch.setattr(growing, "RESIDENT", 1024 * 4 * 4)
    assert torch.equal(grown(parts), torch.cat(parts))
    assert sizes == [(2048, 4), (4096, 4)]


def test_nothing_is_no_rows() -> None:
    assert len(Growing()) == 0
    assert Growing().read().shape == (0,)
