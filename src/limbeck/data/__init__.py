"""Sources, views and loaders. `SOURCES` is the table of the data sets that limbeck knows by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from limbeck.data.build import from_dataset, from_tensors
from limbeck.data.construct import construct
from limbeck.data.digits import digits
from limbeck.data.loader import Loader
from limbeck.data.source import Source
from limbeck.data.split import Split
from limbeck.data.views import Views, draw
from limbeck.notation import parse_call

__all__ = [
    "SOURCES",
    "Entry",
    "Loader",
    "Source",
    "Split",
    "Views",
    "draw",
    "from_dataset",
    "from_tensors",
    "load",
]


@dataclass(frozen=True)
class Entry:
    """A data set that has a name: what makes it, one line about it, and where it comes from."""

    make: Callable[..., Source]
    summary: str
    source: str


SOURCES: Mapping[str, Entry] = {
    "digits": Entry(
        digits, "1,797 scans of handwritten digits, 8 x 8; no download", "Alpaydin & Kaynak, UCI 1998"
    ),
}


def load(spec: str, data_dir: Path | None = None) -> Source:
    """The data set that a text in the notation names, for example `"digits(labelled=100, seed=0)"`.

    Args:
        spec: a name of `SOURCES`, with arguments where the data set has any.
        data_dir: where files lie, for data sets that are read from files.
    Raises:
        LimbeckError: for an unknown name or argument (names the nearest right one) or a value out of range.
    """
    builders = {name: entry.make for name, entry in SOURCES.items()}
    return construct(parse_call(spec, "data set"), builders, "data set", data_dir=data_dir)
