"""IDX files, the format of MNIST: big-endian shape, then the bytes; gzipped or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from limbeck.errors import LimbeckError

_GZIP, _UNSIGNED_BYTES = b"\x1f\x8b", b"\x00\x00\x08"


def read_idx(path: Path) -> Tensor:
    """The uint8 tensor that an IDX file holds.

    Raises:
        LimbeckError: for a file that cannot be read, is no IDX file of unsigned bytes, or is cut short.
    """
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LimbeckError(f"{str(path)!r} is truncated or damaged: {error}") from None
    except OSError as error:
        raise LimbeckError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    if not content.startswith(_UNSIGNED_BYTES):
        raise LimbeckError(
            f"{str(path)!r} is no IDX file of unsigned bytes: it should start with 00 00 08,"
            f" not {content[:3].hex(' ') or 'end at once'}"
        )
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    size = start + math.prod(shape)
    if not shape or not all(shape) or len(content) != size:
        raise LimbeckError(
            f"{str(path)!r} is truncated or damaged: its header, shape {shape}, makes {size:,} bytes,"
            f" and it has {len(content):,}"
        )
    return torch.tensor(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)
