"""What an objective must have for a rule that tells the gradients of task and distillation apart."""

from __future__ import annotations

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, inner_first


def check_kinds(name: str, base: Method) -> None:
    """Refuses an objective whose terms are all of one kind: a rule has nothing to tell apart then.

    Args:
        name: of the method that has the rule.
        base: the objective in it.
    """
    given = [method for method in inner_first(base) if not method.phases_only]
    fits = any(method.kind == "task" or method.fits_labels for method in given)
    distills = any(method.kind == "distillation" for method in given if not [*method.wrapped])
    for kind, there, example in (("task", fits, "ce"), ("distillation", distills, "kd")):
        if not there:
            raise LimbeckError(
                f"{name} tells the gradients of task and distillation apart, and '{base}' has no {kind} "
                f"term; add one, for example {example}"
            )
