"""Blocks of tokens: documents one after the other in rows, or a document a row."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limbeck.data.language.tokens import Ints, Tokens
from limbeck.data.storage.texts import Ragged
from limbeck.outputs import UNLABELED


@dataclass(frozen=True)
class Blocks:
    """Rows of tokens.

    Attributes:
        tokens: `input_ids` and `attention_mask` of each row. Where rows hold several documents, the mask
            numbers them from 1, and `position_ids` counts from 0 in each; it is 0 after the end of a row.
        targets: (N, L) the next token at each position, `UNLABELED` where none is learned.
        bytes: (N,) bytes of text that the targets of each row stand for.
        cut: how many documents were longer than a row.
        unlearned: how many documents had nothing left to learn, and are left out.
        order: the documents that the rows hold, by their numbers, one after the other.
    """

    tokens: Ragged
    targets: Tensor
    bytes: Tensor
    cut: int = 0
    unlearned: int = 0
    order: tuple[int, ...] = ()


def blocks(documents: Sequence[Tokens], size: int, padding: int, *, pack: bool, whole: bool) -> Blocks:
    """The rows that some documents make.

    A document of T tokens has T - 1 positions: what its last token is followed by is not known.

    Args:
        documents: in their order.
        size: L, most positions of a row.
        padding: id that fills up a batch.
        pack: whether a row holds several documents.
        whole: whether a document stays in one row, where it is cut if it is longer; otherwise it goes on in
            the next one, with nothing before it to go by.
    """
    kept, order, cut, unlearned = list[Tokens](), list[int](), 0, 0
    for number, each in enumerate(documents):
        some = each
        if whole and len(each) > size + 1:
            last = size + 1
            some = Tokens(each.ids[:last], each.learned[:last], each.bytes[:last])
            cut += bool(each.learned[last:].any())
        if some.learned[1:].any():
            kept.append(some)
            order.append(number)
        else:
            unlearned += 1
    if not kept:
        empty = torch.zeros(0, dtype=torch.int64)
        names = ("input_ids", "attention_mask")
        tokens = Ragged(
            dict.fromkeys(names, empty), torch.zeros(1, dtype=torch.int64), dict.fromkeys(names, 0)
        )
        return Blocks(tokens, torch.empty(0, 0, dtype=torch.int64), empty, cut, unlearned)
    widths = _widths([len(each) - 1 for each in kept], size, pack=pack)
    if whole:
        rows = (
            together([len(each) - 1 for each in kept], size)
            if pack
            else [[each] for each in range(len(kept))]
        )
        widths = [sum(len(kept[each]) - 1 for each in row) for row in rows]
        order = [order[each] for row in rows for each in row]
        kept = [kept[each] for row in rows for each in row]
    laid = laid_out(kept, np.repeat(np.arange(len(widths)), widths), len(widths), padding, pack=pack)
    wanted = Ragged({"targets": laid.targets}, laid.tokens.starts, {"targets": UNLABELED})
    targets = wanted.batch(torch.arange(len(widths)))["targets"]
    return Blocks(laid.tokens, targets, laid.bytes, cut, unlearned, tuple(order))


@dataclass(frozen=True)
class Laid:
    """Documents in rows.

    Attributes:
        tokens: see `Blocks`.
        targets: (T,) the next token at each position of all rows, `UNLABELED` where none is learned.
        bytes: see `Blocks`.
    """

    tokens: Ragged
    targets: Tensor
    bytes: Tensor


def laid_out(documents: Sequence[Tokens], row: Ints, count: int, padding: int, *, pack: bool) -> Laid:
    """The rows that hold the positions of some documents.

    Args:
        documents: in their order.
        row: (T,) the row of each position, document after document, in order.
        count: N, how many rows there are.
        padding: id that fills up a batch.
        pack: whether a row may hold several documents.
    """
    lengths = np.array([len(each) - 1 for each in documents])
    inputs = np.concatenate([each.ids[:-1] for each in documents])
    learned = np.concatenate([each.learned[1:] for each in documents])
    targets = np.where(learned, np.concatenate([each.ids[1:] for each in documents]), UNLABELED)
    sizes = np.where(learned, np.concatenate([each.bytes[1:] for each in documents]), 0)
    starts = np.searchsorted(row, np.arange(count + 1))
    of_document = np.repeat(np.arange(len(documents)), lengths)
    begun = np.repeat(lengths.cumsum() - lengths, lengths)
    values = {"input_ids": inputs, "attention_mask": np.ones_like(inputs)}
    if pack:
        values["attention_mask"] = of_document - of_document[starts[row]] + 1
        values["position_ids"] = np.arange(len(inputs)) - np.maximum(begun, starts[row])
    return Laid(
        Ragged(
            {name: torch.from_numpy(np.ascontiguousarray(flat)).long() for name, flat in values.items()},
            torch.from_numpy(starts).long(),
            {"input_ids": padding, "attention_mask": 0, "position_ids": 0},
        ),
        torch.from_numpy(targets).long(),
        torch.from_numpy(np.bincount(row, sizes, count)).long(),
    )


def _widths(lengths: Sequence[int], size: int, *, pack: bool) -> list[int]:
    """The positions in each row, where documents of some lengths go on in the next one."""
    stretches = [sum(lengths)] if pack else lengths
    return [min(size, each - start) for each in stretches for start in range(0, each, size)]


def together(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Which documents share a row: each, the longest first, goes where it leaves the least room (best fit).

    Args:
        lengths: of the documents, at most `size` each.
        size: of a row.
    Returns: positions of the documents in each row, in their order, and rows in the order of their first one.
    """
    rows: list[list[int]] = []
    with_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # those of `with_room`, sorted
    for document in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        place = bisect_left(rooms, lengths[document])
        if place < len(rooms):
            room = rooms[place]
            row = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[place]
        else:
            room, row = size, len(rows)
            rows.append([])
        rows[row].append(document)
        left = room - lengths[document]
        if left:
            if left not in with_room:
                with_room[left] = []
                insort(rooms, left)
            with_room[left].append(row)
    return sorted(sorted(row) for row in rows)
