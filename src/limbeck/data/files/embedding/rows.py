"""From a collection to the splits of a source: which texts are rows, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.files.embedding.collection import Collection
from limbeck.data.split import Split
from limbeck.data.storage.base import Samples, spread
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks import Retrieval


@dataclass(frozen=True)
class Places:
    """Where the texts of a collection are.

    Attributes:
        queries: position of each query, by id.
        documents: position of each document, by id; a document without a text has a number beyond all texts.
        texts: positions of the texts of which nothing is known.
        count: how many texts there are.
    """

    queries: Mapping[str, int]
    documents: Mapping[str, int]
    texts: Sequence[int]
    count: int

    @property
    def searchable(self) -> list[int]:
        """The documents that have a text."""
        return [place for place in self.documents.values() if place < self.count]


def training_rows(
    collection: Collection, places: Places, negatives: int, *, documents: bool
) -> tuple[Tensor, Tensor, int, tuple[str, ...]]:
    """Targets (N, 3) and positions (N,) of the training rows, how many of them belong together, and remarks.

    Each relevant document of a training query makes a group: the query, the document, and as many negatives
    as are asked for; where rows of the data bring other negatives, each row makes one. Behind the groups come
    texts without a query, in groups of the same size, of which the last is filled up with the first of them.
    A group with fewer negatives is left out, and a remark says how many are.

    Args:
        collection: parted.
        places: of its texts.
        negatives: how many follow each relevant document.
        documents: whether all documents are training texts, and not only those in a group.
    Raises:
        LimbeckError: if all groups have fewer negatives.
    """
    size, short = 2 + negatives, list[str]()
    groups: list[tuple[int, int, int]] = []
    used: set[int] = set()
    for query, grades in collection.judgments.get("train", {}).items():
        place = places.queries[query]
        for document, grade in grades.items():
            if grade <= 0 or places.documents[document] >= places.count:
                continue
            for hard in hard_negatives(collection, places, query, document, negatives):
                if len(hard) < negatives:
                    short.append(f"the query {query!r} has {len(hard)}")
                    continue
                groups.append((place, UNLABELED, UNLABELED))
                groups.append((place, places.documents[document], grade))
                groups += [(place, each, 0) for each in hard]
                used |= {places.documents[document], *hard}
    if short and not groups:
        raise LimbeckError(
            f"no training query of {collection.name} has {negatives} negatives: {short[0]}; give more, or "
            "ask for fewer by negatives="
        )
    remarks: tuple[str, ...] = ()
    if short:
        remarks = (
            f"{len(short):,} pairs of a query and a relevant document have fewer than {negatives} "
            f"negatives and are not trained on: {short[0]}",
        )
    free = [(each, UNLABELED) for each in places.texts]
    free += [(each, each) for each in places.searchable if each not in used] if documents else []
    size = size if groups else 1
    if free and len(free) % size:
        free = [*free, *(free * size)[: -len(free) % size]]
    known = torch.tensor(groups, dtype=torch.int64).reshape(-1, 3)
    index = torch.where(known[:, 1] == UNLABELED, known[:, 0], known[:, 1])
    further = torch.tensor(free, dtype=torch.int64).reshape(-1, 2)
    targets = torch.full((len(known) + len(further), 3), UNLABELED)
    targets[: len(known)] = known
    targets[len(known) :, 1] = further[:, 1]
    return targets, torch.cat([index, further[:, 0]]), size, remarks


def hard_negatives(
    collection: Collection, places: Places, query: str, document: str, count: int
) -> list[tuple[int, ...]]:
    """Positions of the negatives of each group that a training query and a relevant document make.

    A group has `count` of them, or all that there are.

    Args:
        collection: parted.
        places: of its texts.
        query: id of the query.
        document: id of the document.
        count: how many negatives a group has.
    """
    grades = collection.judgments["train"][query]
    further, found = collection.negatives.get(query, ()), dict[tuple[int, ...], None]()
    for own in collection.beside.get((query, document), ((),)):
        wrong = [each for each in dict.fromkeys([*own, *further]) if grades.get(each, 0) <= 0]
        hard = [place for place in map(places.documents.__getitem__, wrong) if place < places.count][:count]
        found[tuple(hard)] = None
    return [*found]


def search_split(
    collection: Collection, places: Places, which: str, samples: Samples, most: int | None = None
) -> Split | None:
    """The queries of a split, and the documents that they are searched in; None if it has no query.

    Args:
        collection: parted.
        places: of its texts.
        which: "validation" or "test".
        samples: all texts.
        most: how many documents are searched beside those that are judged, evenly spread over all; all if
            None.
    """
    judged = collection.judgments.get(which)
    if not judged:
        return None
    queries = [places.queries[query] for query in judged]
    named = collection.searched.get(which)
    among = places.searchable if named is None else [places.documents[each] for each in named]
    if most is not None:
        needed = {places.documents[each] for grades in judged.values() for each in grades}
        others = [each for each in among if each not in needed]
        kept = {others[row] for row in spread(len(others), most).tolist()} if others else set()
        among = [each for each in among if each in needed or each in kept]
    targets = torch.full((len(queries) + len(among), 3), UNLABELED)
    targets[: len(queries), 0] = torch.tensor(queries)
    targets[len(queries) :, 1] = torch.tensor(among)
    pairs = [
        (places.queries[query], places.documents[document], grade)
        for query, grades in judged.items()
        for document, grade in grades.items()
    ]
    return Split(samples, targets, torch.tensor([*queries, *among]), Retrieval, judgments=torch.tensor(pairs))
