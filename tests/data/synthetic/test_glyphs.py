from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from glyph_files import idx_bytes, some_scans, write_mnist
from limbeck.data.digits import digits
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.data.synthetic.glyphs import Glyphs, read_glyphs
from limbeck.errors import LimbeckError

MNIST = Path(__file__).parents[2] / "../shared/data/mnist"


def scans_of(split: Split | None) -> set[bytes]:
    assert split is not None
    assert isinstance(split.samples, Resident)
    assert isinstance(split.samples.inputs, Tensor)
    return {bytes(scan.numpy()) for scan in split.samples.inputs[:, :, :, 1:7].contiguous()}


def test_the_digits_scans_are_those_of_its_training_split() -> None:
    glyphs = read_glyphs()
    assert glyphs.scans.shape == (1000, 1, 10, 8)  # column 0 and 7 are all but empty; a margin of one pixel
    assert torch.equal(glyphs.digits, digits().train.targets)
    border = glyphs.scans.clone()
    border[:, :, 1:-1, 1:-1] = 0
    assert not border.any()
    inside = {bytes(scan.numpy()) for scan in glyphs.scans[:, :, 1:-1, 1:-1].contiguous()}
    source = digits()
    assert inside == scans_of(source.train)
    assert not inside & (scans_of(source.validation) | scans_of(source.test))


def test_parts_share_no_scan_and_have_every_digit() -> None:
    glyphs = read_glyphs()
    parts = {name: glyphs.part(name) for name in ("train", "validation", "test")}
    assert [len(part.scans) for part in parts.values()] == [900, 50, 50]
    assert all(int(part.digits.bincount(minlength=10).min()) >= 4 for part in parts.values())
    sets = [{bytes(scan.numpy()) for scan in part.scans} for part in parts.values()]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 1000
    known = {bytes(scan.numpy()): int(digit) for scan, digit in zip(*glyphs, strict=True)}
    for part in parts.values():
        assert [known[bytes(scan.numpy())] for scan in part.scans] == part.digits.tolist()


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_mnist_files(tmp_path: Path, zipped: bool) -> None:
    scans, shown = some_scans()
    write_mnist(tmp_path, scans, shown, zipped=zipped)
    glyphs = read_glyphs(str(tmp_path))
    assert glyphs.scans.shape == (200, 1, 10, 9)
    assert torch.equal(glyphs.scans[:, 0, 1:-1, 1:-1], scans[:, 2:10, 3:10])
    assert torch.equal(glyphs.digits, shown.long())
    assert read_glyphs(str(tmp_path / "t10k")).fingerprint == glyphs.fingerprint


def test_training_files_go_before_test_files(tmp_path: Path) -> None:
    scans, shown = some_scans()
    write_mnist(tmp_path, scans, shown, "t10k")
    write_mnist(tmp_path, scans.flip(0), shown.flip(0), "train")
    assert torch.equal(read_glyphs(str(tmp_path)).digits, shown.flip(0).long())
    assert torch.equal(read_glyphs(str(tmp_path / "t10k")).digits, shown.long())


def test_the_fingerprint_is_of_the_content() -> None:
    scans, shown = some_scans()
    first = Glyphs(scans[:, None], shown.long())
    assert first.fingerprint == Glyphs(scans[:, None].clone(), shown.long()).fingerprint
    assert first.fingerprint != Glyphs(scans[:, None], shown.long().flip(0)).fingerprint


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"no MNIST files at .*train-images-idx3-ubyte"):
        read_glyphs(str(tmp_path))
    scans, shown = some_scans()
    write_mnist(tmp_path, scans, shown, zipped=False)
    images, labels = tmp_path / "t10k-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte"
    for file, content, message in (
        (labels, idx_bytes(shown[:-1]), r"not \(200, 12, 12\) and \(199,\)"),
        (
            labels,
            idx_bytes(shown.where(shown != 7, torch.tensor(3, dtype=torch.uint8))),
            "each of them 20 times",
        ),
        (labels, idx_bytes(shown + 1), "digits 0 to 9"),
        (images, idx_bytes(scans.flatten(1)), r"not \(200, 144\)"),
        (images, idx_bytes(scans)[:-5], "t10k-images-idx3-ubyte' is truncated"),
    ):
        kept = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(LimbeckError, match=message):
            read_glyphs(str(tmp_path))
        file.write_bytes(kept)


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST's test files are not here")
def test_the_real_files() -> None:
    glyphs = read_glyphs(str(MNIST))
    assert glyphs.digits.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert glyphs.scans.shape[2] > glyphs.scans.shape[3] > 18
