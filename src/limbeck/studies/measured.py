"""What is measured of a finished cell beside the metrics of its run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck import data as sources
from limbeck import evaluation, tasks
from limbeck.data import Loader, Source, views
from limbeck.data.storage.base import spread
from limbeck.evaluation import Contender
from limbeck.evaluation.measure import answer_of, inference
from limbeck.evaluation.transfer import PROBE, linear_probe
from limbeck.runs.directory import Run, load
from limbeck.runs.evaluate import of_run
from limbeck.studies.cells import Cell
from limbeck.studies.records import CellRecord, Point, TransferRecord, packed
from limbeck.studies.study import Figures, TransferTo
from limbeck.tasks import Classification
from limbeck.training import Trainer

BATCH = 256


def record(cell: Cell, figures: Figures) -> CellRecord:
    """The record of a cell whose run is finished.

    Args:
        cell: the cell.
        figures: what is measured beside the metrics of the run.
    """
    run = cell.run
    found: dict[str, Any] = {}
    if figures.samples or figures.noise or figures.transfer:
        source = run.data()
        contender = of_run(load(run), run)
        if figures.samples and isinstance(source.task, Classification) and source.test is not None:
            correct = _correct(contender, source)
            found |= {"right": packed(correct), "tested": len(correct)}
        if figures.noise is not None:
            found |= _noise(contender, source, figures.noise)
        found["transfer"] = {name: _transfer(run, other) for name, other in figures.transfer.items()}
    return CellRecord(identity=cell.identity, result=run.result, curve=_curve(run), **found)


def lacks(record: CellRecord, figures: Figures) -> bool:
    """Whether a figure that is asked for was not measured when the record was made."""
    known = set(record.transfer)
    return (figures.noise is not None and record.noisy is None) or not known >= set(figures.transfer)


def _curve(run: Run) -> tuple[Point, ...]:
    """The student after each epoch, with what it had cost by then."""
    name = tasks.from_record(run.result.task).primary.name
    points, seconds, forwards = [], 0.0, 0
    for line in run.history:
        seconds += line["seconds"]
        forwards += line.get("teacher_forwards", 0)
        if line["phase"] == "training":
            validation = (line.get("validation") or {}).get(name)
            points.append(Point(line["step"], round(seconds, 1), forwards, validation))
    return tuple(points)


def _correct(contender: Contender, source: Source) -> NDArray[np.bool_]:
    """(N,) which samples of the test split the network gets right, in their order."""
    assert source.test is not None
    loader = Loader(
        source.test,
        min(BATCH, source.test.samples.most),
        shuffle=False,
        preparation=contender.preparation,
    )
    answer = answer_of(source.task, contender.network, contender.features)
    parts: list[Tensor] = []
    with inference(contender.network):
        for batch in loader:
            logits, targets = answer(batch.inputs).logits, batch.targets
            assert logits is not None
            assert targets is not None
            parts.append(logits.argmax(1).eq(targets))
    found: NDArray[np.bool_] = torch.cat(parts).numpy()
    return found


def _noise(contender: Contender, source: Source, samples: int) -> dict[str, Any]:
    """The first metric of the task on some test samples, without noise and with it."""
    split = source.test or source.validation
    kinds = evaluation.corruptions(source, 0)
    if split is None or not kinds:
        return {"noisy": {}}
    few = split.select(spread(len(split), samples))
    loader = Loader(few, min(BATCH, few.samples.most), shuffle=False)
    curve = evaluation.robustness(source.task, [contender], loader, kinds)[0]
    return {"noiseless": curve.noiseless, "noisy": curve.noisy}


def _transfer(run: Run, other: TransferTo) -> TransferRecord:
    """A linear classifier for other data over the frozen student."""
    source = sources.load(other.name, other.dir)
    if other.views is not None:
        source = replace(source, views=views.parse(other.views))
    changes: dict[str, Any] = {} if other.epochs is None else {"epochs": other.epochs}
    changes |= {"rates": other.rates} if other.rates else {}
    setup = replace(PROBE, views=other.keep_views, seed=run.result.seed, **changes)
    trainer = Trainer(device=run.config.training.device, precision="fp32", seed=setup.seed, display=False)
    each = of_run(load(run), run)
    found = linear_probe(each.network, source, trainer, setup, each.features)
    measured = found.test or found.tried[found.lr]
    assert measured is not None, "the learning rate that was chosen has been measured"
    return TransferRecord(
        data=source.name, metric=source.task.primary.name, value=measured.value, lr=found.lr
    )
