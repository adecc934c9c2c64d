"""What a Distiller refuses of an objective: one that lacks its teacher, or that cannot be minimized."""

from __future__ import annotations

from collections.abc import Collection

from limbeck.data_facts import DataFacts
from limbeck.errors import LimbeckError, unknown
from limbeck.methods.base import Method, Objective, inner_first, taught, teachers_read
from limbeck.methods.gradient_rules import GradientRule
from limbeck.methods.parts.writers import Writer


def possible(objective: Method, teachers: Collection[str], facts: DataFacts) -> None:
    """Refuses an objective that lacks its teacher, or something of the data it must know beforehand.

    Args:
        objective: what is to be minimized.
        teachers: names of the teachers there are.
        facts: what is known of the data.
    """
    for method, given in taught(objective):
        names = method.reads.teachers
        if method.reads.teacher and not teachers and not names:
            raise LimbeckError(f"{method.name} learns from a teacher, and none was given")
        if len(names) > len(teachers) and len(teachers) < 2:
            there = "one" if teachers else "none"
            flags = " ".join(f"--teacher {name}=..." for name in names)
            mapping = ", ".join(f'"{name}": ...' for name in names)
            raise LimbeckError(
                f"{method.name} learns from {len(names)} teachers, and {there} was given; give each by its "
                f"name, {flags}, in Python teacher={{{mapping}}}"
            )
        for name in (*method.reads.teachers, *([given] if given else [])):
            if name not in teachers:
                raise unknown(f"teacher of {method.name}", name, teachers)
        if method.reads.teacher and len(teachers) > 1 and not (given or method.reads.teachers):
            raise LimbeckError(
                f"there are {len(teachers)} teachers, and {method.name} does not say which it learns from; "
                f'write {method.name}(teacher="{next(iter(teachers))}"), or make one of all: ensemble(...)'
            )
        for name in method.reads.data:
            if getattr(facts, name) is None:
                whose = (
                    " a Source, a Split or a Loader of limbeck.data, or DataFacts(size, targets=...)"
                    if name == "targets"
                    else ""
                )
                raise LimbeckError(
                    f"{method.name} needs the {name} of the training set; give Distiller(data=...){whose}"
                )
    read = teachers_read(objective)
    idle = [name for name in teachers if name not in read] if read.keys() - {None} else []
    if teachers and not read:
        raise LimbeckError(
            f"the objective {str(objective)!r} has no use for a teacher; leave it out, or add "
            "a method that learns from one, such as kd, or cosine for embeddings"
        )
    if idle and None not in read:
        raise LimbeckError(
            f"the objective {str(objective)!r} does not read the teacher {idle[0]!r}; leave it out, or name "
            f'it in a method, for example kd(teacher="{idle[0]}")'
        )
    _trained_by_something(objective)
    _makes_views_once(objective)
    _outermost(objective)
    writers = [method.name for method in inner_first(objective) if isinstance(method, Writer)]
    if len(writers) > 1:
        raise LimbeckError(
            f"{writers[0]} and {writers[1]} would each have its own text written in the place of a batch, "
            "and all methods learn from one; take one of the two, around all that learns from the text"
        )
    shipping = [method.name for method in inner_first(objective) if type(method).deploy is not Method.deploy]
    for name in shipping:
        if shipping.count(name) > 1:
            raise LimbeckError(f"{name} replaces part of the student, so an objective can have it only once")


def _trained_by_something(objective: Method) -> None:
    """Refuses an objective of nothing but phases, and a weight on what has no term in training."""
    methods = [method for method in inner_first(objective) if not isinstance(method, Objective)]
    if all(method.phases_only for method in methods):
        raise LimbeckError(
            f"{methods[0].name} is over when training begins, so the objective {str(objective)!r} leaves "
            f"nothing to minimize; add what to train by, for example ce + {objective}"
        )
    for part in inner_first(objective):
        for weight, method in part.summands if isinstance(part, Objective) else ():
            if method.phases_only and weight != 1:
                raise LimbeckError(
                    f"{method.name} is over when training begins and has no term in it, so the weight "
                    f"{weight:g} would do nothing; write {method} without one"
                )


def _makes_views_once(objective: Method) -> None:
    """Refuses two methods that would each draw a further view of one name."""
    makes = [(view, method) for method in inner_first(objective) for view in method.reads.makes]
    views = [view for view, _ in makes]
    for view, method in makes:
        if views.count(view) > 1 and not method.makes_alike:
            raise LimbeckError(
                f"{method.name} draws a further view {view!r} of each sample, and an objective can have it "
                f"only once; leave one {method.name} out of {str(objective)!r}"
            )


def _outermost(objective: Method) -> None:
    """Refuses a method that exchanges the samples for all others, unless it wraps them all."""
    alone = isinstance(objective, Objective) and len(objective.summands) == 1
    whole = objective.summands[0][1] if isinstance(objective, Objective) and alone else objective
    for method in inner_first(objective):
        if method.exchanges and method is not whole:
            raise LimbeckError(
                f"{method.name} exchanges the samples that all methods learn from, so it wraps the whole "
                f"objective, such as {method.recipe}; here it is a part of {str(objective)!r}"
            )


def gradient_rule(objective: Method) -> GradientRule | None:
    """The objective's gradient rule, if some method has one; refuses two."""
    rules = [(method, rule) for method in inner_first(objective) if (rule := method.gradient_rule())]
    if len(rules) > 1:
        names = " and ".join(method.name for method, _ in rules)
        raise LimbeckError(
            f"an optimizer follows one gradient rule, and the objective {str(objective)!r} has {len(rules)}: "
            f"{names}; keep one"
        )
    return rules[0][1] if rules else None


def plain_backward(objective: Method, loop: str) -> None:
    """Refuses a gradient rule where a loop computes the gradient of the total by itself.

    Args:
        objective: what is to be minimized.
        loop: whose it is, for the message.
    """
    if gradient_rule(objective) is not None:
        raise LimbeckError(
            f"the objective {str(objective)!r} has a gradient rule, which needs losses.backward(), and "
            f"{loop} calls backward() on the total; use limbeck.distill, or a loop of your own"
        )
