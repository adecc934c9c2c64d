"""What a run would do and take, by a few of its steps; nothing is written."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from limbeck.config import RunConfig
from limbeck.models import count_parameters
from limbeck.runs import directory
from limbeck.runs.arguments import RunArguments, check_taught
from limbeck.runs.job import Job, prepare
from limbeck.runs.planning import Planned
from limbeck.runs.planning import plan as cache_plan
from limbeck.runs.rehearsal import Short, rehearsed, size_of
from limbeck.training import Trainer
from limbeck.training.trackers import check_trackers


@dataclass(frozen=True)
class Stretch:
    """One phase, or the training.

    Attributes:
        name: of the phase, or "training".
        epochs: how many begin.
        steps: how many it has.
        step: seconds of one, measured; None where only one could be done.
    """

    name: str
    epochs: int
    steps: int
    step: float | None


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        job: what it is made of.
        device: where it computes.
        precision: of the networks.
        parameters: of each network by role: how many there are, and how many of them learn.
        stretches: the phases and the training, in order.
        peak: bytes of memory at most, of the device, or on a CPU of the whole process.
        checkpoint: bytes of a checkpoint, of which two lie beside each other.
        weights: bytes of the student's weights.
        kept: how often those are kept on the way.
        caches: what the cache of the teacher would take; nothing is known of those of several.
    """

    job: Job
    device: torch.device
    precision: str
    parameters: Mapping[str, tuple[int, int]]
    stretches: tuple[Stretch, ...]
    peak: int
    checkpoint: int
    weights: int
    kept: int
    caches: tuple[Planned, ...]

    @property
    def seconds(self) -> float | None:
        """Of all steps; None where some were not timed."""
        times = [None if each.step is None else each.steps * each.step for each in self.stretches]
        return None if None in times else sum(filter(None, times))


def dry_run(
    given: RunArguments, out: Path | None = None, *, teaches: bool = True, overwrite: bool = False
) -> Plan:
    """What a run with these arguments would do, found by making everything and doing a few steps.

    Args:
        given: the arguments.
        out: its directory, if it is known.
        teaches: whether it is one of `distill`, and not of `train`.
        overwrite: whether it may replace a run in `out`.
    Raises:
        LimbeckError: for whatever the run itself would refuse, and for an objective with a phase of which a
            few steps are too few.
    """
    if out is not None:
        directory.check_claim(out, resume=False, overwrite=overwrite)
    config = given.made()
    check_taught(config, teaches=teaches)
    check_trackers(config.training.trackers, out or Path())
    caches = tuple(cache_plan(given)) if config.teacher is not None and config.teacher.cache else ()
    job = prepare(_uncached(config), given.objects)
    parameters = {
        role: (count_parameters(network), sum(p.numel() for p in network.parameters() if p.requires_grad))
        for role, network in _networks(job).items()
    }
    shorts, trainer = rehearsed(job)
    setup, length = config.training, shorts[-1].length
    weights, root = size_of(job.distiller.deploy().state_dict()), size_of(job.distiller.state_dict())
    kept = 0 if setup.keep_every is None else -(-length.epochs // setup.keep_every)
    copies = (setup.selection == "validation") * root + (setup.ema is not None) * weights
    return Plan(
        job=replace(job, config=config.model_copy(update={"objective": job.config.objective})),
        device=trainer.device,
        precision=trainer.precision,
        parameters=parameters,
        stretches=tuple(map(_stretch, shorts)),
        peak=_peak(trainer),
        checkpoint=root + max(short.optimizer_bytes for short in shorts) + copies,
        weights=weights,
        kept=kept,
        caches=caches,
    )


def _stretch(short: Short) -> Stretch:
    return Stretch(short.name, short.length.epochs, short.length.total, short.step or None)


def _networks(job: Job) -> dict[str, nn.Module]:
    teachers = {name: teacher.network for name, teacher in job.distiller.teachers.items()}
    found = {"student": job.distiller.student, **teachers}
    return {role: network for role, network in found.items() if network is not None}


def _uncached(config: RunConfig) -> RunConfig:
    """The config without caches, which the steps would fill."""
    none = {"cache": None, "cache_budget": None}
    one = config.teacher and config.teacher.model_copy(update=none)
    several = {name: each.model_copy(update=none) for name, each in config.teachers.items()}
    return config.model_copy(update={"teacher": one, "teachers": several})


def _peak(trainer: Trainer) -> int:
    if trainer.device.type == "cuda":
        return torch.cuda.max_memory_allocated(trainer.device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
