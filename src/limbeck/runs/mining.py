"""Hard negatives: what a network ranks high for a training query although it is not relevant."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from limbeck import data as sources
from limbeck.config import TeacherConfig
from limbeck.data import Loader, Source, Split
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError
from limbeck.evaluation.measure import answer_of, inference
from limbeck.files import replacing
from limbeck.growing import Growing
from limbeck.outputs import UNLABELED
from limbeck.runs import networks, preparations
from limbeck.tasks import Retrieval
from limbeck.tasks.parts.vectors import prepared
from limbeck.tasks.retrieval.search import search
from limbeck.training.devices import own_device

BATCH = 256


def mine(
    model: str,
    data: str | Source,
    out: Path,
    data_dir: Path | None = None,
    *,
    depth: int = 100,
    skip: int = 0,
    below: float | None = None,
    overwrite: bool = False,
) -> int:
    """Writes the documents that a network ranks high for each training query and that are not relevant to it.

    The file is a TREC run, for `retrieval(..., run=FILE, negatives=4)`. Among the first documents of a
    ranking are relevant ones that nobody has judged: `skip` leaves out the first, and `below` those whose
    score is too near to the relevant document's, as in Moreira et al. 2024, arXiv:2407.15831 (TopK-PercPos).

    Args:
        model: a run's directory, or a network with weights as a teacher is named.
        data: a data set for retrieval whose documents have ids, or its name.
        out: the file.
        data_dir: where its files are.
        depth: how many documents are kept for each query.
        skip: how many of the first documents that are not relevant are left out.
        below: share of the score of the query's best relevant document that a negative's score may have at
            most; None for any.
        overwrite: replace the file.
    Returns: how many queries are in it; one without a negative is not.
    Raises:
        LimbeckError: for data without training queries or without ids, numbers out of range, a file that is
            there, and where no query has a negative.
    """
    if depth < 1 or skip < 0 or not (below is None or 0 < below <= 1):
        raise LimbeckError(
            f"depth should be at least 1, skip at least 0 and below in (0, 1], not {depth}, {skip} and "
            f"{below}"
        )
    if out.exists() and not overwrite:
        raise LimbeckError(f"{str(out)!r} is there already; say overwrite=True (--overwrite)")
    source = data if isinstance(data, Source) else sources.load(data, data_dir)
    samples, queries, relevant = _asked(source)
    documents = [place for place, kind in enumerate(samples.corpus.kinds) if kind == "document"]
    config = TeacherConfig(model=model)
    network = networks.teacher(config, source)
    places = torch.tensor([*queries, *documents])
    vectors = embeddings(network, config, source, places)
    asked, searched = vectors[: len(queries)], vectors[len(queries) :]
    most = None
    if below is not None:
        row_of = {place: row for row, place in enumerate(documents)}
        right = [searched[[row_of[each] for each in relevant[query]]] for query in queries]
        most = below * torch.stack([(its @ one).max() for its, one in zip(right, asked, strict=True)])
    wanted = min(len(documents), depth + skip + max(map(len, relevant.values())))
    scores, found = search(asked, searched, wanted, most)
    names, count = samples.corpus.ids, 0
    with replacing(out) as partial, partial.open("w", encoding="utf-8") as stream:
        for query, ranked in zip(queries, zip(found.tolist(), scores.tolist(), strict=True), strict=True):
            kept = [
                (documents[place], score)
                for place, score in zip(*ranked, strict=True)
                if documents[place] not in relevant[query] and score > -math.inf
            ][skip:][:depth]
            for rank, (place, score) in enumerate(kept, 1):
                stream.write(f"{names[query]} Q0 {names[place]} {rank} {score:.6f} limbeck\n")
            count += bool(kept)
        if not count:
            raise LimbeckError(
                f"none of the {len(queries):,} training queries has a negative with skip={skip} and "
                f"below={below}; leave out fewer documents"
            )
    return count


def embeddings(network: nn.Module, config: TeacherConfig, source: Source, places: Tensor) -> Tensor:
    """(N, D) float32 vectors of some texts of a source, on the CPU, whose inner products are the scores.

    Many of them lie in a temporary file.

    Args:
        network: an encoder.
        config: of the network.
        source: the data.
        places: (N,) positions of the texts.
    """
    task = source.task
    split = Split(source.train.samples, task.as_targets(None, len(places), "training"), places, type(task))
    device = own_device("auto")
    loader = Loader(
        split, BATCH, shuffle=False, device=device, preparation=preparations.preparation(config, task)
    )
    answer, found = answer_of(task, network.to(device), config.features), Growing()
    with inference(network):
        for batch in loader:
            found.add(prepared(answer(batch.inputs).logits, task.score))  # type: ignore[attr-defined]
    return found.read()


def _asked(source: Source) -> tuple[Texts, list[int], dict[int, set[int]]]:
    """The texts, the training queries by their places, and the places of the documents relevant to each."""
    samples, targets = source.train.samples, source.train.targets
    if not isinstance(source.task, Retrieval) or not isinstance(samples, Texts):
        raise LimbeckError(f"negatives are mined for retrieval, and {source.name} is for {source.task.name}")
    relevant: dict[int, set[int]] = {}
    judged = targets[(targets[:, 0] != UNLABELED) & (targets[:, 2] > 0)]
    for query, document, _ in judged.tolist():
        relevant.setdefault(query, set()).add(document)
    if not relevant:
        raise LimbeckError(
            f"{source.name} has no training query with a relevant document to mine negatives for"
        )
    if not samples.corpus.ids or any(len(name.split()) != 1 for name in samples.corpus.ids if name):
        raise LimbeckError(
            f"the texts of {source.name} have no ids without spaces, by which a run names them; give a "
            "collection, retrieval(path=...)"
        )
    return samples, sorted(relevant), relevant
