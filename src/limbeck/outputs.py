"""What flows through limbeck: a Batch goes into a network, Outputs come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.retold import Retold
from limbeck.words import Words

if TYPE_CHECKING:
    from limbeck.tasks.rows import Rows

Inputs: TypeAlias = "Tensor | Mapping[str, Tensor]"
"""One tensor, or named tensors (token ids and a mask, say), each with the samples along axis 0."""

UNLABELED = -100
"""The target of a sample without a label; the value that torch's losses ignore."""

NEVER = -1e9
"""The logit of a class that has no probability at all. It is finite, so that 0 * log 0 is 0."""

ABSENT = -1
"""In targets by position, a position at which a split has no sample."""


@dataclass(frozen=True, eq=False)
class Mixture(Mapping[str, Tensor]):
    """Inputs that are pairs of texts: a network mixes the embeddings that it has itself of their tokens.

    What a network is called with are `inputs`; as a mapping it holds those, and an unnamed tensor as "".
    `limbeck.features.call` has the embeddings of the ids among them exchanged for the sum of those of both
    texts, each times its share.

    Attributes:
        inputs: the ids at (B, L) positions and what goes with them, such as a mask.
        name: the name of the ids among the inputs; "" where they have none.
        ids: (B, 2, L) token ids of both texts of each pair.
        shares: (B, 2, L) share of each text in the embedding at each position; 0 where a text has ended.
    """

    inputs: Inputs
    name: str
    ids: Tensor
    shares: Tensor

    @property
    def given(self) -> Tensor:
        """(B, L) the ids that the network is called with."""
        return self[self.name]

    def map(self, function: Callable[[Tensor], Tensor]) -> Mixture:
        """The mixture with `function` applied to every tensor in it."""
        return Mixture(apply(function, self.inputs), self.name, function(self.ids), function(self.shares))

    def __getitem__(self, name: str) -> Tensor:
        return named(self.inputs)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(named(self.inputs))

    def __len__(self) -> int:
        return len(named(self.inputs))


def named(inputs: Inputs) -> Mapping[str, Tensor]:
    """The inputs by name; a single tensor has the name ""."""
    return {"": inputs} if isinstance(inputs, Tensor) else inputs


def apply(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """The inputs with `function` applied to each tensor."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, (Mixture, Retold, Words)):
        return inputs.map(function)
    return {name: function(tensor) for name, tensor in inputs.items()}


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it is of a shorter float type; losses are never computed in half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Inputs one after the other along axis 0; all are tensors, or name the same ones."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    if isinstance(first, Words):
        return Words.joined([part for part in parts if isinstance(part, Words)])
    named = [part for part in parts if not isinstance(part, Tensor)]
    return {name: torch.cat([part[name] for part in named]) for name in first}


def part_of(tensor: Tensor, part: int, parts: int, together: int = 1) -> Tensor:
    """One of `parts` pieces of a tensor along axis 0, none of which begins within `together` rows."""
    if together == 1:
        return tensor.tensor_split(parts)[part]
    whole = tensor.reshape(-1, together, *tensor.shape[1:])
    return whole.tensor_split(parts)[part].flatten(0, 1)


def mean_one(weights: Tensor) -> Tensor:
    """The weights (B,) of a batch over their mean, so that a weighted mean is a mean of weighted values.

    A batch in which all weights are 0 keeps them, and counts for nothing.
    """
    mean = weights.mean()
    return weights / mean.where(mean > 0, 1)


def size_of(inputs: Inputs) -> int:
    """Number of samples in the inputs."""
    return len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))


@dataclass(frozen=True)
class Progress:
    """How far training has come: steps and epochs finished, and the fraction of the whole in [0, 1]."""

    step: int = 0
    epoch: int = 0
    fraction: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Some samples on the device, as every network and every method sees them.

    Attributes:
        inputs: (B, ...) tensor or named tensors; pixels are floats in [0, 1].
        targets: as the task has them: (B,) int64 class ids, `UNLABELED` where a sample has none; None without
            labels. A method sees those of the rows, (P,).
        index: (B,) int64 positions in the training set, where known.
        view: (B,) int64 number of the view each sample is seen in, where known.
        views: inputs of further views of the same samples, by the name a method asked for.
        view_numbers: (B,) int64 numbers of these views, where known.
        total: samples in the whole batch, of which this may be one process's share; None if it is all.
        progress: how far training has come; None in a loop that does not tell.
        teacher_inputs: what a teacher that brings its own preparation reads of the same samples, by the name
            of the teacher; a teacher that is not named here reads `inputs`.
        answered: share of the samples in the whole batch that a teacher answers, by the name of the teacher;
            one that answers for some samples alone, and is not named here, takes this batch for the whole.
        teacher_views: what such a teacher reads of further views, by its name and theirs.
        bytes: (B,) int64 bytes of text that the targets of each sample stand for, where known.
        rows: the decisions in the batch, where a method sees it.
        related: (R,) int64 those of the rows that methods relate to each other; None for all.
        written: (B,) bool, the samples whose text a network has written: their targets say which rows there
            are, and are no labels. None where all are data.
        together: how many samples in a row belong together, such as a query and its documents; a batch is
            only parted between them.
        judgments: (J, 3) int64 what a retrieval split knows of pairs, also of those that are not in the
            batch: query, document and grade.
        notes: what the method that made the batch has noted of each position of it, by name, shaped as the
            targets.
        kinds: the notes that are 1 at the positions of one kind of rows and 0 at others.
        ratios: all rows over those of each kind; in a training of limbeck's, of the batch of all processes.
            A mean over all rows times this is one over the rows of the kind.
        weights: (B,) how much each sample counts in the terms that fit the labels; over the whole batch their
            mean is 1, see `mean_one`. None where all count alike. A method sees those of the rows, (P,).
        collected: whether the methods have exchanged it already, as `Distiller.collected` has them do.
        figures: (B,) by name what there is to tell of how each sample was made by a method.
    """

    inputs: Inputs
    targets: Tensor | None = None
    index: Tensor | None = None
    view: Tensor | None = None
    views: Mapping[str, Inputs] = field(default_factory=dict)
    progress: Progress | None = None
    total: int | None = None
    view_numbers: Mapping[str, Tensor] = field(default_factory=dict)
    teacher_inputs: Mapping[str, Inputs] = field(default_factory=dict)
    answered: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Rows | None = None
    related: Tensor | None = None
    teacher_views: Mapping[str, Mapping[str, Inputs]] = field(default_factory=dict)
    bytes: Tensor | None = None
    written: Tensor | None = None
    together: int = 1
    judgments: Tensor | None = None
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    ratios: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    collected: bool = False
    figures: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return size_of(self.inputs)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `function` applied to every tensor in it."""
        return replace(
            self,
            inputs=apply(function, self.inputs),
            targets=None if self.targets is None else function(self.targets),
            index=None if self.index is None else function(self.index),
            view=None if self.view is None else function(self.view),
            views={name: apply(function, inputs) for name, inputs in self.views.items()},
            view_numbers={name: function(number) for name, number in self.view_numbers.items()},
            teacher_inputs={name: apply(function, inputs) for name, inputs in self.teacher_inputs.items()},
            written=None if self.written is None else function(self.written),
            teacher_views={
                teacher: {name: apply(function, inputs) for name, inputs in views.items()}
                for teacher, views in self.teacher_views.items()
            },
            bytes=None if self.bytes is None else function(self.bytes),
            notes={name: function(each) for name, each in self.notes.items()},
            weights=None if self.weights is None else function(self.weights),
            figures={name: function(figure) for name, figure in self.figures.items()},
        )

    def split(self, parts: int) -> list[Batch]:
        """The batch in `parts` pieces that differ by one sample at most, fewer if it has fewer samples.

        Where samples belong together, "sample" is all that do.
        """
        parts = min(parts, len(self) // self.together)
        return [
            self.map(lambda tensor, part=part: part_of(tensor, part, parts, self.together))  # type: ignore[misc]
            for part in range(parts)
        ]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


class Outputs(Mapping[str, Any]):
    """What one network produced for one batch; holds only what some method reads.

    `logits` (B, C), `embedding` (B, D) is the input of the layer that makes them, both as rows where a method
    sees them (see `limbeck.tasks.Rows`), `stages` the outputs of the
    network's block groups from shallow to deep, `maps` the logits (B, C, h, w) of a task that decides at
    positions as the network gives them, `stem` what enters the first group, `preactivations`
    the stages before their last ReLU, `mask` the valid positions of a token model. Of `Words`,
    logits and an embedding with positions are by word, and `words` says which were read. Of texts that are
    `Retold`, `retold` is that, or where a method sees them the `Counterparts` of rows. A teacher that is a
    file of answers may add `known` and `answered`, and one that is cached gives `sides`, by name what methods
    need of fields that it does not give. A task may add named fields, read as `outputs["boxes"]`;
    `outputs.views[name]` are the outputs for a further view.
    """

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        if name not in self._fields:
            have = ", ".join(self._fields) or "nothing"
            raise LimbeckError(
                f"the outputs hold no {name!r} (they hold {have}); a method must name it in its `reads`"
            )
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    @property
    def logits(self) -> Tensor:
        """(P, C) scores of the rows before any softmax; (B, C) where a row is a sample."""
        return self["logits"]  # type: ignore[no-any-return]

    @property
    def embedding(self) -> Tensor:
        """(P, D) input of the layer that makes the logits, a row for each place that has one of its own."""
        return self["embedding"]  # type: ignore[no-any-return]

    @property
    def stages(self) -> tuple[Tensor, ...]:
        """Outputs of the block groups, shallow to deep: maps (B, C, H, W) or hidden states (B, L, D)."""
        return self["stages"]  # type: ignore[no-any-return]

    @property
    def maps(self) -> Tensor:
        """(B, C, h, w) logits as the network gives them; a method has them beside the rows `logits`."""
        return self["maps"]  # type: ignore[no-any-return]

    @property
    def stem(self) -> Tensor:
        """What enters the first block group."""
        return self["stem"]  # type: ignore[no-any-return]

    @property
    def preactivations(self) -> tuple[Tensor, ...]:
        """The stages before their last ReLU."""
        return self["preactivations"]  # type: ignore[no-any-return]

    @property
    def mask(self) -> Tensor:
        """(B, L) true where a token is valid."""
        return self["mask"]  # type: ignore[no-any-return]

    @property
    def known(self) -> Tensor | None:
        """(P, C) true for the classes whose probabilities a teacher tells; of the others it tells the sum.

        None for a teacher that tells those of all classes.
        """
        return self._fields.get("known")

    @property
    def answered(self) -> Tensor | None:
        """(P,) how much each row counts in a mean over the answered rows of the whole batch.

        0 for a row without an answer; over all rows of that batch, the mean is 1. None for a teacher that
        answers for every sample.
        """
        return self._fields.get("answered")

    @property
    def views(self) -> Mapping[str, Outputs]:
        """Outputs for the further views a method asked for, by name."""
        return self["views"]  # type: ignore[no-any-return]

    @property
    def named(self) -> Mapping[str, Outputs]:
        """The outputs of all teachers by name, where several are read."""
        return self["named"]  # type: ignore[no-any-return]

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        """The outputs with `function` applied to every tensor."""
        return Outputs(**{name: _map(function, value) for name, value in self._fields.items()})

    def replace(self, **fields: Any) -> Outputs:
        """The outputs with some fields exchanged or added."""
        return Outputs(**{**self._fields, **fields})

    def __repr__(self) -> str:
        return f"Outputs({', '.join(f'{name}={_shape(value)}' for name, value in self._fields.items())})"


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (Outputs, Retold)):
        return value.map(function)
    if isinstance(value, (tuple, list)):
        return tuple(_map(function, item) for item in value)
    if isinstance(value, Mapping):
        return {name: _map(function, item) for name, item in value.items()}
    return value


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_shape(item) for item in value)}]"
    return type(value).__name__
