"""Parts of a student that stay in eval mode while it is trained."""

from __future__ import annotations

import warnings
from collections.abc import Collection

from torch import nn


def resting(student: nn.Module, others: Collection[nn.Module]) -> tuple[str, ...]:
    """The paths of the parts that somebody has put in eval mode, of a student that is in training mode.

    It warns of parts that learn so, unless they are batch norms, which are often frozen in this way.

    Args:
        student: the network as it is handed over.
        others: modules that do not count, such as those of a teacher.
    """
    found = {
        path: part
        for path, part in student.named_modules()
        if student.training and not part.training and part not in others
    }
    learning = [
        path or "it"
        for path, part in found.items()
        if not isinstance(part, nn.modules.batchnorm._BatchNorm)
        and any(parameter.requires_grad for parameter in part.parameters(recurse=False))
    ]
    if learning:
        more = f" and {len(learning) - 1} more" if learning[1:] else ""
        warnings.warn(
            f"the student's {learning[0]!r}{more} learns in eval mode, as it was handed over; call "
            "student.train() before if it shall not",
            stacklevel=3,
        )
    return tuple(found)


def rest(student: nn.Module, paths: Collection[str]) -> None:
    """Puts such parts in eval mode again."""
    for path in paths:
        student.get_submodule(path).training = False
