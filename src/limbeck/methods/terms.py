"""What an objective returns: named terms, and the one sum that is minimized."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from limbeck.errors import LimbeckError

Kind = Literal["task", "distillation", "own", "monitor"]
Per = Literal["rows", "samples"]


@dataclass(frozen=True)
class Term:
    """One named loss, unweighted as its equation gives it.

    `kind` says what it is for: "task" (fits the labels) and "distillation" (fits the teacher) train the
    student and are scaled by the objective's weights; "own" trains only the method's own parts (a
    discriminator's loss) and always weighs 1; "monitor" is a detached figure to log and is not minimized.
    `per` says what the value is a mean over: the rows of the batch, or its samples.
    """

    value: Tensor
    kind: Kind = "distillation"
    weight: float = 1.0
    per: Per = "rows"

    def scaled(self, factor: float) -> Term:
        """The term as part of a sum that gives it this factor."""
        if self.kind in ("own", "monitor"):
            return self
        return replace(self, weight=self.weight * factor)


# Not a collections.abc.Mapping: accelerate takes apart and rebuilds every Mapping a module returns, and
# DistributedDataParallel looks for tensors in dictionaries and dataclasses only.
@dataclass(frozen=True)
class Losses:
    """Named terms of one batch: `losses["kd"]` is a term's own value, `losses.total` the weighted sum.

    `total`, `task` and `distillation` are scalars; `total` also counts what methods minimize for their own
    parts. `dict(losses)` gives names and values. `rule` is what `backward` does instead if the objective has
    a gradient rule. `given` holds a scalar for each thing that the losses were computed from and training
    does not change, such as "the teacher's logits"; it is finite if all of that thing is.
    """

    terms: Mapping[str, Term]
    rule: Callable[[Losses, float | Tensor], None] | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)
    total: Tensor = field(init=False)

    def __post_init__(self) -> None:
        minimized = [term for term in self.terms.values() if term.kind != "monitor"]
        if not minimized:
            raise LimbeckError("the objective has no term to minimize in this phase; add one, for example ce")
        object.__setattr__(self, "total", _sum(minimized))

    def backward(self, scale: float | Tensor = 1.0) -> None:
        """Adds the gradient of the total, times `scale`, to every parameter it depends on.

        Args:
            scale: a factor; for a piece of a batch, its share of the samples. A tensor is not waited for.
        Raises:
            LimbeckError: if there is nothing that the losses could train.
        """
        if self.rule is not None:
            self.rule(self, scale)
        elif not self.total.requires_grad:
            raise LimbeckError(
                "the losses depend on no parameter that is trained; compute them outside of torch.no_grad(), "
                "and give the parts of the student that are to learn requires_grad=True"
            )
        else:
            plain = not isinstance(scale, Tensor) and scale == 1
            (self.total if plain else self.total * scale).backward()  # type: ignore[no-untyped-call]

    def reweighed(self, ratio: float | Tensor) -> Losses:
        """The losses with the values of terms that are means over rows times a ratio."""
        terms = {
            name: replace(term, value=term.value * ratio) if term.per == "rows" else term
            for name, term in self.terms.items()
        }
        return Losses(terms, self.rule, self.given)

    @property
    def task(self) -> Tensor | None:
        """Weighted sum of the task terms; None if there is none."""
        return self._of("task")

    @property
    def distillation(self) -> Tensor | None:
        """Weighted sum of the distillation terms; None if there is none."""
        return self._of("distillation")

    def _of(self, kind: Kind) -> Tensor | None:
        terms = [term for term in self.terms.values() if term.kind == kind]
        return _sum(terms) if terms else None

    def __getitem__(self, name: str) -> Tensor:
        return self.terms[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def __contains__(self, name: object) -> bool:
        return name in self.terms

    def keys(self) -> KeysView[str]:
        """Names of the terms, in the order of the objective."""
        return self.terms.keys()

    def values(self) -> ValuesView[Tensor]:
        """The terms' own values."""
        return {name: term.value for name, term in self.terms.items()}.values()

    def items(self) -> ItemsView[str, Tensor]:
        """Names and values."""
        return {name: term.value for name, term in self.terms.items()}.items()

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value.item():.4g}" for name, value in self.items())
        return f"Losses(total={self.total.item():.4g}, {inside})"


def _sum(terms: list[Term]) -> Tensor:
    first, *rest = (term.value if term.weight == 1 else term.weight * term.value for term in terms)
    for value in rest:
        first = first + value
    return first
