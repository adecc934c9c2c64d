from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from limbeck.data import memory
from limbeck.data.memory import budget, budget_on, free_on
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
    monkeypatch.setattr(memory, "_left_in_control_groups", list)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert budget("auto") == 4000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert budget("auto") == 1000


@pytest.mark.parametrize("text", ["", "lots", "-1 GB", "4 gigs", "GB", "1e9"])
def test_refuses(text: str) -> None:
    with pytest.raises(LimbeckError, match='memory should be a size such as "4 GiB"'):
        budget(text)


def write_group(folder: Path, names: tuple[str, str, str], limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - cached}\n{names[2]} {cached}\n")


@pytest.mark.parametrize(
    ("line", "mount", "names"),
    [
        ("0::/box/job", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/box/job",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_a_container_leaves_less(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    mount: str,
    names: tuple[str, str, str],
) -> None:
    groups = tmp_path / "proc" / "self" / "cgroup"
    groups.parent.mkdir(parents=True)
    groups.write_text(f"1:cpu:/\n{line}\n")
    mounted = tmp_path / "sys" / "fs" / "cgroup" / mount
    find = memory._left_in_control_groups
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8000))
    monkeypatch.setattr(memory, "_left_in_control_groups", lambda: find(tmp_path))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert budget("auto") == 4000, "no group is to be seen"
    write_group(mounted, names, "6000", 1000, 400)
    assert list(find(tmp_path)) == [5400]
    assert budget("auto") == 2700
    write_group(mounted / "box", names, "1000", 900, 500)
    assert budget("auto") == 300
    if not mount:
        write_group(mounted / "box" / "job", names, "max", 900, 500)
        assert budget("auto") == 300
    write_group(mounted / "box" / "job", names, "900", 1000, 0)
    assert budget("auto") == 0


def test_a_device_gives_half_of_what_is_free_or_of_no_use_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert free_on(torch.device("cuda", 0)) == 800
    assert budget_on(torch.device("cuda", 0)) == 400
    assert budget_on(torch.device("cpu")) == budget_on(torch.device("mps")) == sys.maxsize
    assert free_on(torch.device("cpu")) is None
