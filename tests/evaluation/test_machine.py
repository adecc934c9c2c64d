from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from limbeck.evaluation.machine import machine


def test_the_processor_is_named_as_the_system_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr("limbeck.evaluation.machine.CPUINFO", info)
    assert machine("cpu").processor == (platform.processor() or platform.machine())
    info.write_text("processor\t: 0\nmodel name\t: Zilog Z80\n\nprocessor\t: 1\nmodel name\t: Zilog Z80\n")
    found = machine(torch.device("cpu"))
    assert (found.processor, found.threads) == ("Zilog Z80", torch.get_num_threads())
