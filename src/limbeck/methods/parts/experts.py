"""Several teachers as the experts of one method, named from the smallest to the largest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Context
from limbeck.notation import show
from limbeck.outputs import Outputs


def expert_names(method: str, teachers: Sequence[str], own: str | None) -> tuple[str, ...]:
    """The names of a method's experts.

    Args:
        method: name of the method, for messages.
        teachers: the names as they were given.
        own: the one teacher that the call names besides, which a method of several has no use for.
    Raises:
        LimbeckError: for fewer than two, for a name that is there twice, and for one teacher besides.
    """
    if own is not None:
        raise LimbeckError(f"{method} learns from those that teachers names; leave teacher={show(own)} out")
    if len(teachers) < 2:
        raise LimbeckError(
            f"{method} learns from several teachers, and teachers={show(list(teachers))} names"
            f" {len(teachers) or 'none'}; name them from the smallest to the largest,"
            ' teachers=["small", "big"], and give each by its name: --teacher small=... --teacher big=...'
        )
    for name in teachers:
        if list(teachers).count(name) > 1:
            raise LimbeckError(
                f"{method}: teachers={show(list(teachers))} names {name!r} more than once; every teacher has"
                " a name of its own"
            )
    return tuple(teachers)


def check_sizes(method: str, names: Sequence[str], context: Context) -> None:
    """Refuses experts that do not go from the smallest to the largest by their parameters.

    Those without a network to count, such as a cache that another program filled, may stand anywhere.

    Args:
        method: name of the method, for messages.
        names: the experts, in order.
        context: what the method is bound to.
    """
    networks = {name: context.teachers[name].teacher_network for name in names}
    sizes = {
        name: sum(parameter.numel() for parameter in network.parameters())
        for name, network in networks.items()
        if network is not None
    }
    if list(sizes.values()) == sorted(sizes.values()):
        return
    given = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    following = iter(sorted(sizes, key=sizes.__getitem__))
    right = [next(following) if name in sizes else name for name in names]
    raise LimbeckError(
        f"{method}: teachers goes from the smallest to the largest, and their parameters are {given}; write"
        f" teachers={show(right)}"
    )


def expert_known(names: Sequence[str], teacher: Outputs) -> list[Tensor] | None:
    """(P, C) the classes that each expert tells apart, see `Outputs.known`; None if all tell all."""
    known = {name: teacher.named[name].known for name in names}
    if all(each is None for each in known.values()):
        return None
    return [
        torch.ones_like(teacher.named[name].logits, dtype=torch.bool) if each is None else each
        for name, each in known.items()
    ]


def expert_logits(names: Sequence[str], teacher: Outputs) -> list[Tensor]:
    """(P, C) logits of each expert."""
    return [teacher.named[name].logits for name in names]
