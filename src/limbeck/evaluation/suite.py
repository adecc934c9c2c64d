"""All there is to say about a student, beside its teacher and a baseline, on one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from limbeck.data import Loader, Source, Split
from limbeck.data.storage.base import spread
from limbeck.errors import LimbeckError
from limbeck.evaluation import cost
from limbeck.evaluation.calibration import COLDEST, HOTTEST, calibration
from limbeck.evaluation.contenders import Contender, answer
from limbeck.evaluation.corruptions import corruptions
from limbeck.evaluation.fidelity import fidelity, mistakes
from limbeck.evaluation.machine import machine
from limbeck.evaluation.metrics import accuracy, confusion, nll
from limbeck.evaluation.predict import Predictions, predict
from limbeck.evaluation.results import Cost, Data, Evaluation, NetworkResult, Role, Suite, Timing
from limbeck.evaluation.robustness import robustness
from limbeck.models import count_parameters
from limbeck.outputs import Inputs, apply, size_of

BATCH = 256
"""Samples at once: of a pass over a split, of the minibatches of CKA, and of the throughput."""

LATENCY_BATCHES = (1, 32)


def evaluate(
    source: Source,
    contenders: Mapping[Role, Contender],
    *,
    suite: Suite = "quick",
    seed: int | None = None,
    noise_samples: int | None = None,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Measures networks on a data set's test split, or on its validation split where it has no other.

    `quick` is one pass over the split and one over the validation split, which gives the temperature.
    `full` adds the CKA of the stages, noisy inputs, latency, throughput and peak memory.

    Args:
        source: the data.
        contenders: by role; the student must be there. They are moved to the device.
        suite: how much to measure.
        seed: of the noise; 0 if None.
        noise_samples: how many of the split's samples are shown with noise, evenly spread over it; all if
            None. Noise takes thirty passes, by far the most of `full`.
        device: where to run.
    Raises:
        LimbeckError: for data with neither split or without labels in it, networks that tell different
            numbers of classes apart, and a quick suite that is told of noise.
    """
    full, split = suite == "full", source.test or source.validation
    if not full and not (seed is None and noise_samples is None):
        raise LimbeckError(
            "the quick suite shows no noise, so it takes no seed and no number of noisy samples; measure the "
            "full suite, or leave them out"
        )
    if noise_samples is not None and noise_samples < 1:
        raise LimbeckError(f"noise needs at least 1 sample, not {noise_samples}")
    if split is None:
        raise LimbeckError(f"{source.name} has neither a test nor a validation split to measure on")
    for each in contenders.values():
        each.network.to(device)
    example = _example(source, 2, device)
    answers, cka = answer(contenders, _loader(split, device), example, stages=full)
    classes = _classes(answers)
    noise = corruptions(source, seed or 0) if full else {}
    rows = spread(len(split), noise_samples or len(split))
    noisy = split.select(rows)
    networks = [each.network for each in contenders.values()]
    curves = robustness(networks, _loader(noisy, device), noise) if noise else [None] * len(networks)
    costs = _costs(source, contenders, full=full, device=device)
    tuning = source.validation if source.test else None
    results: dict[Role, NetworkResult] = {}
    for (role, each), curve, spent in zip(contenders.items(), curves, costs, strict=True):
        logits, targets = answers[role].labeled()
        fitted = None if tuning is None else predict(each.network, _loader(tuning, device)).labeled()
        results[role] = NetworkResult(
            name=each.name,
            run=each.run,
            accuracy=accuracy(logits, targets),
            nll=nll(logits, targets),
            calibration=calibration(logits, targets, fitted),
            confusion=confusion(logits, targets),
            robustness=curve,
            noiseless=None if curve is None else _noiseless(answers[role], rows),
            cost=spent,
        )
    unfitted = [role for role, found in results.items() if tuning and found.calibration.temperature is None]
    student, teacher = answers["student"], answers.get("teacher")
    return Evaluation(
        suite=suite,
        split="test" if source.test else "validation",
        data=Data(name=source.name, fingerprint=source.fingerprint(), classes=source.task.width),
        samples=len(split),
        class_names=(*source.task.names, *map(str, range(source.task.width, classes))),
        device=str(device),
        machine=machine(device),
        seed=(seed or 0) if noise else None,
        networks=results,
        fidelity=None if teacher is None else fidelity(student, teacher, cka),
        mistakes=() if teacher is None else mistakes(student, teacher),
        notes=tuple(_notes(source, split, noisy if noise else None, unfitted, full=full)),
    )


def _costs(
    source: Source, contenders: Mapping[Role, Contender], *, full: bool, device: torch.device | str
) -> list[Cost]:
    networks = [each.network for each in contenders.values()]
    largest = min(BATCH, source.train.samples.most)
    batches = {size: _example(source, size, device) for size in (*LATENCY_BATCHES, largest)} if full else {}
    timed = {size: cost.latencies(networks, batches[size]) for size in LATENCY_BATCHES if full}
    large = cost.latencies(networks, batches[largest], repeats=5, warmup=1) if full else []
    return [
        Cost(
            parameters=count_parameters(network),
            multiply_adds=cost.multiply_adds(network, _example(source, 1, device)),
            bytes=cost.weight_bytes(network),
            peak_bytes=cost.peak_bytes(network, batches[LATENCY_BATCHES[-1]]) if full else None,
            latency={size: _timing(found[n]) for size, found in timed.items()} if full else None,
            throughput=1000 / large[n].ms_per_image if full else None,
        )
        for n, network in enumerate(networks)
    ]


def _noiseless(answers: Predictions, rows: Tensor) -> float:
    """Top-1 of the samples that are shown with noise, without it."""
    targets = None if answers.targets is None else answers.targets[rows]
    return accuracy(*Predictions(answers.logits[rows], targets).labeled()).top1.value


def _timing(latency: cost.Latency) -> Timing:
    return Timing(median_ms=latency.median_ms, p95_ms=latency.p95_ms)


def _notes(
    source: Source, split: Split, noisy: Split | None, unfitted: Sequence[Role], *, full: bool
) -> list[str]:
    notes = []
    if source.test is None:
        notes.append(
            "The data has no test split: all figures are of the validation split, and no temperature is "
            "fitted."
        )
    elif source.validation is None:
        notes.append("No temperature is fitted: the data has no validation split to fit it on.")
    if unfitted:
        notes.append(
            f"No temperature is given for {' and '.join(unfitted)}: on the validation split, none from "
            f"{COLDEST:g} to {HOTTEST:g} is best."
        )
    if noisy is not None and len(noisy) < len(split):
        notes.append(f"Noise is measured on {len(noisy):,} samples, evenly spread over the split.")
    elif noisy is None and full:
        notes.append(
            "Noise is measured on images with pixels in [0, 1] and on tables; these inputs are neither."
        )
    return notes


def _classes(answers: Mapping[Role, Predictions]) -> int:
    counts = {role: predictions.logits.shape[1] for role, predictions in answers.items()}
    for role, count in counts.items():
        if count != counts["student"]:
            raise LimbeckError(
                f"the student tells {counts['student']} classes apart, and the {role} {count}; they "
                "cannot be compared"
            )
    return counts["student"]


def _loader(split: Split, device: torch.device | str) -> Loader:
    return Loader(split, min(BATCH, split.samples.most), shuffle=False, device=device)


def _example(source: Source, size: int, device: torch.device | str) -> Inputs:
    """As many inputs as asked for, the same over again where the data, or the memory for it, has fewer."""
    example = source.example(min(size, source.train.samples.most))
    rows = torch.arange(size) % size_of(example)
    return apply(lambda tensor: tensor[rows].to(device), example)
