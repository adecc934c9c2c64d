"""All there is to say about a student, beside its teacher and a baseline, on one data set."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from limbeck.data import Loader, Source, Split
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.data.storage.base import spread
from limbeck.errors import LimbeckError
from limbeck.evaluation import cost
from limbeck.evaluation.contenders import Answers, Contender, answer
from limbeck.evaluation.corruptions import corruptions
from limbeck.evaluation.machine import machine
from limbeck.evaluation.measure import measure
from limbeck.evaluation.results import Cost, Data, Evaluation, NetworkResult, Role, Suite, Timing
from limbeck.evaluation.robustness import robustness
from limbeck.evaluation.writing import written
from limbeck.models import count_parameters
from limbeck.outputs import Inputs, apply, size_of
from limbeck.tasks import Comparison, Meter

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

    `quick` is one pass over the split and one over the validation split, by which a task chooses what it
    has to choose, such as a temperature.
    `full` adds the CKA of the stages, noisy inputs, latency, throughput and peak memory.

    Args:
        source: the data.
        contenders: by role; the student must be there. They are moved to the device.
        suite: how much to measure.
        seed: random seed of the noise; 0 if None.
        noise_samples: how many of the split's samples are shown with noise, evenly spread over it; all if
            None. Noise takes a pass for each kind and severity, by far the most of `full`.
        device: where to run.
    Raises:
        LimbeckError: for data with neither split or without labels in it, networks with different
            numbers of outputs, and a quick suite that is told of noise.
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
    task = source.task
    answers = _answers(
        source, {r: each for r, each in contenders.items() if not each.told}, device, stages=full
    )
    for role, each in contenders.items():
        if each.told is not None:
            answers.meters.update(_answers(each.told, {role: each}, device, stages=False).meters)
    noise = corruptions(source, seed or 0) if full else {}
    noisy = split.select(spread(len(split), noise_samples or len(split)))
    measured = list(contenders.values())
    curves = robustness(task, measured, _loader(noisy, device), noise) if noise else [None] * len(measured)
    costs = _costs(source, contenders, full=full, device=device)
    tuning = source.validation if source.test else None
    results: dict[Role, NetworkResult] = {}
    for (role, each), curve, spent in zip(contenders.items(), curves, costs, strict=True):
        meter = answers.meters[role]
        tuned = None
        own = each.told or source
        if tuning is not None and each.unseen and own.validation is not None:
            batches = _loader(own.validation, device, each.preparation)
            tuned = measure(
                own.task, each.network, batches, features=each.features, remember=role == "teacher"
            )
        results[role] = NetworkResult(
            name=each.name,
            run=each.run,
            metrics=meter.compute(),
            intervals=meter.intervals(),
            findings=own.task.measure(meter, tuned),
            robustness=curve and curve.noisy,
            noiseless=curve and curve.noiseless,
            cost=spent,
        )
    comparison = answers.comparison
    return Evaluation(
        task=task.record(),
        suite=suite,
        split="test" if source.test else "validation",
        data=Data(name=source.name, fingerprint=source.fingerprint()),
        samples=len(split),
        device=str(device),
        machine=machine(device),
        seed=(seed or 0) if noise else None,
        networks=results,
        agreement=comparison and comparison.compute(),
        cka=answers.cka,
        written=written(source, contenders, device),
        notes=(
            *remarks(source, results),
            *_seen(contenders),
            *_sampled(answers),
            *(_noise_notes(split, noisy if noise else None) if full else ()),
        ),
    )


def _answers(
    source: Source, contenders: Mapping[Role, Contender], device: torch.device | str, *, stages: bool
) -> Answers:
    """What one pass over the test split, or else the validation split, shows of some networks."""
    split = source.test or source.validation
    assert split is not None, "there is something to measure on"
    examples = {role: _example(source, 2, device, each.preparation) for role, each in contenders.items()}
    first, *others = ((role, each.preparation) for role, each in contenders.items())
    return answer(
        source.task, contenders, _loader(split, device, first[1], dict(others)), examples, stages=stages
    )


def _costs(
    source: Source, contenders: Mapping[Role, Contender], *, full: bool, device: torch.device | str
) -> list[Cost]:
    networks = [each.network for each in contenders.values()]
    largest = min(BATCH, source.train.samples.most, source.train.samples.at_once)

    def examples(size: int) -> list[Inputs]:
        return [_example(each.told or source, size, device, each.preparation) for each in contenders.values()]

    batches = {size: examples(size) for size in (*LATENCY_BATCHES, largest)} if full else {}
    timed = {size: cost.latencies(networks, batches[size]) for size in LATENCY_BATCHES if full}
    large = cost.latencies(networks, batches[largest], repeats=5, warmup=1) if full else []
    return [
        Cost(
            parameters=count_parameters(network),
            multiply_adds=cost.multiply_adds(network, examples(1)[n]),
            bytes=cost.weight_bytes(network),
            peak_bytes=cost.peak_bytes(network, batches[LATENCY_BATCHES[-1]][n]) if full else None,
            latency={size: _timing(found[n]) for size, found in timed.items()} if full else None,
            throughput=1000 / large[n].ms_per_image if full else None,
        )
        for n, network in enumerate(networks)
    ]


def _timing(latency: cost.Latency) -> Timing:
    return Timing(median_ms=latency.median_ms, p95_ms=latency.p95_ms)


def remarks(source: Source, results: Mapping[Role, NetworkResult]) -> tuple[str, ...]:
    """Sentences on what could not be chosen or fitted for some networks.

    Args:
        source: the data.
        results: figures by role.
    """
    if source.test is None:
        return (
            "The data has no test split: all figures are of the validation split, and nothing is fitted on "
            "it.",
        )
    found = {str(role): result.findings for role, result in results.items()}
    return source.task.remarks(found, validation=source.validation is not None)


def _sampled(answers: Answers) -> tuple[str, ...]:
    """What was measured on a part of the rows only, each sentence once."""
    measured: list[Meter | Comparison] = [
        *answers.meters.values(),
        *([answers.comparison] if answers.comparison else []),
    ]
    return tuple(dict.fromkeys(note for each in measured for note in each.notes))


def _noise_notes(split: Split, noisy: Split | None) -> tuple[str, ...]:
    if noisy is None:
        return ("Noise is measured on images with pixels in [0, 1] and on tables; these inputs are neither.",)
    if len(noisy) < len(split):
        return (f"Noise is measured on {len(noisy):,} samples, evenly spread over the split.",)
    return ()


def _seen(contenders: Mapping[Role, Contender]) -> tuple[str, ...]:
    """What was not chosen on the validation split, because a network may have been trained on it."""
    roles = [role for role, each in contenders.items() if not each.unseen]
    if not roles:
        return ()
    return (
        f"Nothing is fitted on the validation split for {' and '.join(roles)}: what it was trained on is not "
        "known, and that split may be part of it.",
    )


def _loader(
    split: Split,
    device: torch.device | str,
    preparation: Preparation = AS_RENDERED,
    others: Mapping[Role, Preparation] | None = None,
) -> Loader:
    return Loader(
        split,
        min(BATCH, split.samples.most),
        shuffle=False,
        device=device,
        preparation=preparation,
        teacher_preparations={str(role): each for role, each in (others or {}).items()},
    )


def _example(
    source: Source, size: int, device: torch.device | str, preparation: Preparation = AS_RENDERED
) -> Inputs:
    """As many inputs as asked for, the same over again where the data, or the memory for it, has fewer."""
    example = source.example(min(size, source.train.samples.most), preparation)
    rows = torch.arange(size) % size_of(example)
    return apply(lambda tensor: tensor[rows].to(device), example)
