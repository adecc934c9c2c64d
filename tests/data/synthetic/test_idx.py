from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from glyph_files import idx_bytes
from limbeck.data.synthetic.idx import read_idx
from limbeck.errors import LimbeckError

NUMBERS = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_what_was_written(tmp_path: Path, zipped: bool) -> None:
    file = tmp_path / "numbers"  # whether it is gzipped is in the bytes, not in the name
    file.write_bytes(gzip.compress(idx_bytes(NUMBERS), mtime=0) if zipped else idx_bytes(NUMBERS))
    assert torch.equal(read_idx(file), NUMBERS)


def test_reads_the_bytes_of_the_format(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    file.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 7, 255]))
    assert read_idx(file).tolist() == [[7], [255]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            idx_bytes(NUMBERS)[:-1],
            r"truncated or damaged: its header, shape \(2, 3, 4\), makes 40 bytes, .* 39",
        ),
        (idx_bytes(NUMBERS) + b"x", "makes 40 bytes, and it has 41"),
        (idx_bytes(NUMBERS)[:9], r"truncated or damaged: .* and it has 9"),
        (idx_bytes(NUMBERS)[:3], "truncated or damaged"),
        (b"\x00\x00\x08\x03" + bytes(4) + b"\xff" * 8, r"truncated or damaged: .* shape \(0, 4294967295, "),
        (b"", "no IDX file of unsigned bytes: .* not end at once"),
        (b"\x89PNG\r\n", "should start with 00 00 08, not 89 50 4e"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "not 00 00 0d"),  # floats
        (gzip.compress(idx_bytes(NUMBERS), mtime=0)[:-9], "truncated or damaged: Compressed file ended"),
        (b"\x1f\x8b" + bytes(40), "truncated or damaged"),
    ],
)
def test_refuses(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "odd-images"
    file.write_bytes(content)
    with pytest.raises(LimbeckError, match=message) as caught:
        read_idx(file)
    assert "odd-images" in str(caught.value)


def test_refuses_a_directory(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="cannot be read: Is a directory"):
        read_idx(tmp_path)
