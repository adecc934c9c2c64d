from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor

import limbeck
from limbeck.data import Loader, load
from limbeck.data import prefetch as ahead
from limbeck.data.files.arrow import read_mapped
from limbeck.data.files.decoding import Decoder
from limbeck.data.split import Split
from limbeck.data.storage import streamed as streaming
from limbeck.data.storage.base import Resident
from limbeck.data.storage.streamed import Encoded
from limbeck.data.views import Crop
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch
from limbeck.training.history import History
from picture_files import Pixels, pixels, png, write_splits


def encoded(folder: Path, size: int = 24, memory: int = 10**6) -> tuple[Encoded, Pixels]:
    shown = write_splits(folder, {"train": size})["train"]
    rows = read_mapped("", folder, "test", 10**6)["train"]
    return Encoded(rows, "image", torch.arange(size), Decoder(), (3, 8, 8), memory), shown


def plain(inputs: object) -> Tensor:
    assert isinstance(inputs, Tensor)
    return inputs


def test_images_by_position_in_any_order(tmp_path: Path) -> None:
    samples, shown = encoded(tmp_path)
    index = torch.tensor([5, 0, 23, 5])
    assert torch.equal(samples.take(index, index), torch.from_numpy(shown)[index])
    some = samples.select(torch.tensor([7, 2]))
    assert len(some) == 2
    assert torch.equal(some.take(torch.tensor([1]), torch.tensor([0])), torch.from_numpy(shown)[2:3])
    assert samples.to("meta").take(index, index).device.type == "meta"


def test_it_is_the_same_as_in_memory(tmp_path: Path) -> None:
    samples, shown = encoded(tmp_path, size=300)  # more than a chunk
    kept = samples.resident()
    assert torch.equal(plain(kept.inputs), torch.from_numpy(shown))
    assert samples.fingerprint == kept.fingerprint == Resident(torch.from_numpy(shown)).fingerprint
    assert samples.nbytes == shown.nbytes
    counts = torch.stack([torch.from_numpy(shown[:, c]).flatten().bincount(minlength=256) for c in range(3)])
    assert torch.equal(samples.levels, counts)


@pytest.mark.parametrize(("most", "chunk"), [(0, 1), (1, 1), (7, 1), (34, 2), (10_000, 256)])
def test_what_is_decoded_at_once_fits_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, chunk: int
) -> None:
    samples, shown = encoded(tmp_path, size=300, memory=5 * 192 * most)
    chunks: list[int] = []
    workers: list[int] = []
    monkeypatch.setattr(streaming, "WORKERS", 16)
    take = Encoded.take

    def taken(self: Encoded, index: Tensor, view: Tensor) -> Tensor:
        chunks.append(len(index))
        return take(self, index, view)

    def in_order(jobs: Any, count: int) -> Any:
        workers.append(count)
        return ahead.in_order(jobs, count)

    monkeypatch.setattr(Encoded, "take", taken)
    monkeypatch.setattr(streaming, "in_order", in_order)
    assert samples.fingerprint == Resident(torch.from_numpy(shown)).fingerprint
    assert max(chunks) == chunk
    assert workers[0] >= 1
    assert (workers[0] + 1) * chunk <= max(most, 2)


@pytest.mark.parametrize("world", [1, 3])
def test_a_loader_makes_the_same_batches(tmp_path: Path, world: int) -> None:
    samples, shown = encoded(tmp_path)
    targets = torch.arange(24) % 3

    def batches(of: Encoded | Resident, rank: int, epoch: int) -> list[Batch]:
        loader = Loader(
            Split.whole(of, targets),
            7,
            views=Crop(2, True),
            seed=3,
            rank=rank,
            world=world,
            extra_views=("x",),
        )
        loader.set_epoch(epoch)
        return list(loader)

    for rank in range(world):
        for epoch in (0, 4):
            kept = batches(Resident(torch.from_numpy(shown)), rank, epoch)
            for ours, theirs in zip(batches(samples, rank, epoch), kept, strict=True):
                assert torch.equal(plain(ours.inputs), plain(theirs.inputs))
                assert torch.equal(plain(ours.views["x"]), plain(theirs.views["x"]))
                assert torch.equal(plain(ours.targets), plain(theirs.targets))
                assert torch.equal(plain(ours.index), plain(theirs.index))
                assert ours.total == theirs.total


def test_a_loader_works_ahead_and_stops_when_it_is_left(tmp_path: Path) -> None:
    samples, _ = encoded(tmp_path)
    before = set(threading.enumerate())
    batches = iter(Loader(Split.whole(samples, torch.zeros(24).long()), 4))
    next(batches)
    assert set(threading.enumerate()) - before
    del batches
    assert set(threading.enumerate()) == before


def test_a_batch_that_the_memory_does_not_hold(tmp_path: Path) -> None:
    samples, _ = encoded(tmp_path, memory=5 * 192 * 4)
    split = Split.whole(samples, torch.zeros(24).long())
    assert samples.most == 4
    assert sum(len(batch) for batch in Loader(split, 4)) == 24
    with pytest.raises(LimbeckError, match="holds 4 samples, and a batch has 5; give more memory or"):
        Loader(split, 5)
    assert sum(len(batch) for batch in Loader(split, 2, extra_views=("x",))) == 24
    with pytest.raises(LimbeckError, match="holds 2 samples in 2 views each, and a batch has 3; give more"):
        Loader(split, 3, extra_views=("x",))
    measured = Loader(split, 512, shuffle=False)
    assert [len(batch) for batch in measured] == [4] * 6
    assert len(measured) == 6
    with pytest.raises(LimbeckError, match="holds 0 samples, and a batch has 1; give more"):
        Loader(Split.whole(encoded(tmp_path, memory=100)[0], torch.zeros(24).long()), 512, shuffle=False)


def test_a_device_with_little_room_gets_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, _ = encoded(tmp_path)
    monkeypatch.setattr(streaming, "budget_on", lambda device: 5 * 192 * 3)
    assert samples.to("meta").most == 3


def test_an_image_that_is_broken_or_of_another_size_is_named_when_it_comes(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        (tmp_path / str(number % 2) / f"{number}.png").write_bytes(png(pixels(1)[0]))
    rows = read_mapped("", tmp_path, "test", 10**6)["train"]
    samples = Encoded(rows, "image", torch.arange(8), Decoder(), (3, 8, 8), 10**6)
    (tmp_path / "1" / "5.png").write_bytes(png(pixels(1, 4, 6)[0]))
    loader = Loader(Split.whole(samples, torch.zeros(8).long()), 2, shuffle=False)
    with pytest.raises(
        LimbeckError,
        match=r"row 7 of .*, '.*1/5\.png', has 6 x 4 pixels, but the first .* 8 x 8; size=\.\.\.",
    ):
        list(loader)
    (tmp_path / "1" / "5.png").write_bytes(b"")
    with pytest.raises(
        LimbeckError, match=r"the image in row 7 of .*, '.*1/5\.png', is in none of the formats"
    ):
        list(loader)
    (tmp_path / "1" / "5.png").unlink()
    with pytest.raises(LimbeckError, match=r"row 7 of .* cannot be read: No such file or directory"):
        list(loader)


def test_a_run_ends_in_the_same_weights_also_after_a_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_splits(tmp_path / "data", {"train": 40, "test": 6})
    students = []
    for name, memory in (("kept", "1 MB"), ("streamed", "8.5 KB")):
        settings: dict[str, Any] = {"out": tmp_path / name, "display": False}
        spec = f'images(memory="{memory}")'
        assert isinstance(load(spec, tmp_path / "data").train.samples, Encoded) == (name == "streamed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(History, "add", stopped if name == "streamed" else History.add)
            with nullcontext() if name == "kept" else pytest.raises(KeyboardInterrupt):
                limbeck.train(
                    model="cnn(channels=[4])",
                    data=spec,
                    data_dir=tmp_path / "data",
                    epochs=2,
                    batch_size=8,
                    settings={"training.trackers": []},
                    **settings,
                )
        run = limbeck.train(resume=True, **settings)
        students.append((run.path / "student.safetensors").read_bytes())
    assert students[0] == students[1]


def stopped(self: History, line: Any, add: Any = History.add) -> None:
    add(self, line)
    raise KeyboardInterrupt
