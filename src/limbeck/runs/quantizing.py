"""A run's student in 8-bit integers: made, measured beside the file in float32, and kept or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from limbeck.data import Loader, Source, Split
from limbeck.data.preparation import Preparation
from limbeck.data.storage.base import spread
from limbeck.errors import LimbeckError, unknown
from limbeck.evaluation.cost import timed
from limbeck.evaluation.machine import machine
from limbeck.evaluation.results import Data, Timing
from limbeck.features import reordered
from limbeck.files import digest
from limbeck.optional import imported
from limbeck.outputs import Inputs, size_of
from limbeck.runs.exports import int8, onnx
from limbeck.runs.exports.quality import BATCH, FromFile, MaxDrop, drop, measured
from limbeck.runs.exports.quantization import Quantization, Sizes, Times
from limbeck.runs.matching import match
from limbeck.runs.network_record import Card
from limbeck.runs.widths import check_width

CALIBRATION = 512
"""Training samples that give the ranges of static quantization, from all over the split."""

PRECISIONS = ("int8",)


class DropError(LimbeckError):
    """A quantized file loses more than is allowed."""


def check_quantize(form: str, quantize: str | None, max_drop: MaxDrop) -> None:
    """Refuses an unknown precision, one for another format than ONNX, and a limit that is none.

    Args:
        form: the format to export.
        quantize: "int8"; None for no quantization.
        max_drop: see `MaxDrop`.
    """
    if quantize is None:
        if max_drop != "auto":
            raise LimbeckError(
                "max_drop (--max-drop) is the loss that quantization may cost; say quantize='int8' "
                "(--quantize int8) too, or leave it out"
            )
        return
    if quantize not in PRECISIONS:
        raise unknown("precision", quantize, PRECISIONS)
    if form != "onnx":
        raise LimbeckError(
            f"a file of {form} is not quantized; leave out quantize (--quantize), or take the format onnx "
            "(--format onnx)"
        )
    if max_drop is None or max_drop == "auto":
        return
    if not isinstance(max_drop, (int, float)) or not 0 <= max_drop < math.inf:
        raise LimbeckError(
            "max_drop (--max-drop) should be a loss of 0 or more in the task's first metric, or none for any "
            f"loss, not {max_drop!r}"
        )


def quantized(
    plain: Path,
    out: Path,
    source: Source,
    card: Card,
    reads: Preparation,
    place: Path,
    file: Path,
    max_drop: MaxDrop,
) -> tuple[Quantization, list[str]]:
    """Writes the quantized file and measures both.

    Args:
        plain: the file in float32, in a directory of its own.
        out: where the quantized one goes.
        source: the data; its training split gives ranges, its validation split decides.
        card: that of the student.
        reads: what the student reads of a sample.
        place: where the student lies, for messages.
        file: what the quantized one will be called, for the record.
        max_drop: see `MaxDrop`.
    Returns: the record, and a sentence a line on it.
    Raises:
        LimbeckError: if the student cannot be quantized, or the data has other outputs or nothing to decide
            by.
        DropError: if it loses more than is allowed.
    """
    matched = match(card, source, "student", str(place))
    if matched.order is None:
        check_width(len(card.names), "student", source)

    def network(answer: Callable[[Inputs], Tensor]) -> nn.Module:
        from_file = FromFile(answer)
        return from_file if matched.order is None else reordered(from_file, matched.order, len(card.names))

    way = int8.way_of(plain)
    calibration = source.train.select(spread(len(source.train), CALIBRATION))
    int8.quantize(plain, out, way, _inputs(calibration, reads))
    answers = [onnx.reopen(each) for each in (plain, out)]
    before, after = map(network, answers)
    figures = measured(source, before, after, reads)
    lost = drop(source.task, figures, source.name, max_drop)
    lines = [way.summary(len(calibration))]
    if lost is not None:
        if lost.too_large:
            raise DropError(f"{lost.summary(source.name)}; no quantized file was kept")
        lines.append(lost.summary(source.name))
    found = Quantization(
        file=file.name if file.parent.resolve() == place.resolve() else str(file),
        digest=digest(out),
        mode=way.mode,
        calibration=len(calibration) if way.mode == "static" else 0,
        task=card.task,
        data=Data(name=source.name, fingerprint=source.fingerprint()),
        splits=figures,
        decided_on=lost and lost.split,
        drop=lost and lost.loss,
        max_drop=lost and lost.limit,
        latency=_times(answers, source, reads),
        bytes=Sizes(before=plain.stat().st_size, after=out.stat().st_size),
        machine=machine("cpu"),
        onnxruntime=imported("onnxruntime", "onnx").__version__,
    )
    return found, [*lines, *_disappointments(found)]


def _inputs(split: Split, preparation: Preparation) -> Iterator[Inputs]:
    loader = Loader(split, BATCH, shuffle=False, preparation=preparation)
    return (batch.inputs for batch in loader)


def _times(
    answers: Sequence[Callable[[Inputs], Tensor]], source: Source, preparation: Preparation
) -> dict[int, Times]:
    """How long both files take for one sample and for a batch; they take turns."""
    times = {}
    for size in (1, min(BATCH, source.train.samples.most)):
        inputs = source.example(size, preparation)
        found = timed([partial(answer, inputs) for answer in answers], size_of(inputs))
        before, after = (Timing(median_ms=each.median_ms, p95_ms=each.p95_ms) for each in found)
        times[size_of(inputs)] = Times(before=before, after=after)
    return times


def _disappointments(found: Quantization) -> Iterator[str]:
    """What quantization is for and did not bring."""
    if found.bytes.after >= found.bytes.before:
        yield "the quantized file is no smaller: what describes the ranges outweighs so few weights"
    slower = [size for size, times in found.latency.items() if times.after.median_ms > times.before.median_ms]
    if slower:
        batches = " and ".join(f"of {size}" for size in slower)
        yield f"on this machine the quantized file is slower in batches {batches}"
