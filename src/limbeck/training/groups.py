"""Parts of a student by the names of its parameters: frozen ones, and groups with rates of their own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError, listed
from limbeck.features import BatchNorm, FeaturePoints
from limbeck.optimization import MakeOptimizer, Muon, Optimizing


def freeze(student: nn.Module, patterns: Sequence[str]) -> None:
    """Has the matching parameters of a student stay as they are.

    A batch norm all of whose parameters and statistics match is put in eval mode, and a distiller leaves it
    there, so that its statistics stay as well.

    Args:
        student: changed in place.
        patterns: of names of parameters and buffers, such as "layer1.*"; "layer1" is short for that.
    Raises:
        LimbeckError: for a pattern that matches no parameter, naming what is nearest.
    """
    for pattern in patterns:
        check("training.freeze", pattern, student)
    if not student.training:  # else its parts in eval mode were put there by whoever hands it over
        student.train()
    for name, parameter in student.named_parameters():
        if any(matches(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    for path, part in student.named_modules():
        if not isinstance(part, BatchNorm):
            continue
        own = [f"{path}.{name}" for name in part.state_dict()]
        if own and all(any(matches(name, pattern) for pattern in patterns) for name in own):
            part.eval()


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern with * and ? stands for a name, or for a module that it is in."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def check(key: str, pattern: str, student: nn.Module) -> None:
    """Refuses a pattern that matches no parameter.

    Args:
        key: of the config, for the message.
        pattern: the pattern.
        student: whose parameters are matched.
    """
    names = [name for name, _ in student.named_parameters()]
    if any(matches(name, pattern) for name in names):
        return
    known = [*names, *(path for path, _ in student.named_modules() if path)]
    near = get_close_matches(pattern.removesuffix(".*"), known, n=1, cutoff=0.5)
    parts = list(dict.fromkeys(name.partition(".")[0] for name in names))
    hint = f"did you mean {near[0]!r}?" if near else f"its parts are {listed(parts)}"
    raise LimbeckError(f"{key}: no parameter of the student is called {pattern!r}; {hint}")


def grouped(
    make: Optimizing,
    student: nn.Module,
    points: FeaturePoints,
    rates: Mapping[str, float] | None = None,
    layer_decay: float | None = None,
) -> MakeOptimizer:
    """What makes the optimizer with its parameters in groups.

    Args:
        make: the optimizer of the config.
        student: whose parameters have names; all others, of methods, learn at the rate of the optimizer.
        points: its features.
        rates: learning rates by pattern, of which the first that matches counts; they know no `layer_decay`.
        layer_decay: factor on the learning rate for every stage that a parameter is below the head (ELECTRA,
            Clark et al., ICLR 2020, arXiv:2003.10555, appendix A).
    Raises:
        LimbeckError: for a pattern that matches nothing, or nothing that learns, for a student without stages
            where they are asked for, and for an optimizer that is not installed or has nothing to work on.
    """
    make.ready()
    rates = rates or {}
    for pattern in rates:
        check("training.rates", pattern, student)
        if not any(
            parameter.requires_grad and matches(name, pattern)
            for name, parameter in student.named_parameters()
        ):
            raise LimbeckError(
                f"training.rates: all parameters of the student that {pattern!r} stands for are frozen; "
                "leave it out, or do not freeze them"
            )
    if layer_decay is not None and not points.stages:
        raise LimbeckError(
            f"training.layer_decay goes by the stages of the student, and {type(student).__name__} has none "
            "that were found; name them with student.features={stages: [...]}"
        )
    hidden = set(hidden_matrices(student, points)) if isinstance(make, Muon) else None
    if hidden is not None and not hidden:
        raise LimbeckError(
            f"muon is for the matrices between the embedding and the head of a network, and "
            f"{type(student).__name__} has none that learns; use adamw"
        )
    if hidden is None and not rates and layer_decay is None:
        return make
    below, stages = depths(student, points)

    def settings(name: str | None) -> dict[str, Any]:
        """What of a parameter's group is its own, by its name in the student."""
        own: dict[str, Any] = {} if hidden is None else {"hidden": name in hidden}
        if name is None:
            return own
        rate = next((rate for pattern, rate in rates.items() if matches(name, pattern)), None)
        if rate is None and layer_decay is not None:
            rate = make.lr * layer_decay ** (stages - below[name])
        return own if rate is None or rate == make.lr else {**own, "lr": rate}

    def made(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        names = {id(parameter): name for name, parameter in student.named_parameters()}
        groups: dict[tuple[Any, ...], dict[str, Any]] = {}
        for parameter in parameters:
            own = settings(names.get(id(parameter)))
            groups.setdefault(tuple(own.items()), {**own, "params": []})["params"].append(parameter)
        plain_first = sorted(groups.values(), key=lambda group: "lr" in group)
        return make(plain_first)

    return made


def depths(network: nn.Module, points: FeaturePoints) -> tuple[dict[str, int], int]:
    """How many of the stages end before each parameter, by its name, and how many there are.

    Modules count in the order in which they are registered. The stem is a stage here, where it was found.
    """
    places = {path: place for place, (path, _) in enumerate(network.named_modules())}
    ends = sorted(_ends(places, points))
    below = {
        name: bisect_left(ends, places[name.rpartition(".")[0]]) for name, _ in network.named_parameters()
    }
    return below, len(ends)


def _ends(places: Mapping[str, int], points: FeaturePoints) -> Iterator[float]:
    for point in (*points.of("stem"), *points.stages):
        inside = [
            place for path, place in places.items() if path == point.path or path.startswith(f"{point.path}.")
        ]
        yield min(inside) - 0.5 if point.side == "input" else max(inside)


def hidden_matrices(student: nn.Module, points: FeaturePoints) -> Iterator[str]:
    """Names of the matrices that learn, but for embeddings and what is behind the last stage, in the head."""
    below, stages = depths(student, points)
    heads = {point.path for point in points.of("embedding") if point.side == "input"}
    embeddings = {id(part.weight) for part in student.modules() if isinstance(part, nn.Embedding)}
    for name, parameter in student.named_parameters():
        in_head = name.rpartition(".")[0] in heads or (stages > 0 and below[name] == stages)
        if (
            parameter.ndim == 2
            and parameter.requires_grad
            and id(parameter) not in embeddings
            and not in_head
        ):
            yield name
