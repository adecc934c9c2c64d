"""Sources: a data set with its splits, task, training views and normalization."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from limbeck.data.kinds import Kind
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.data.split import Split
from limbeck.data.storage.base import digest
from limbeck.data.tokenization import Tokenization
from limbeck.data.views import Views
from limbeck.data_facts import DataFacts
from limbeck.outputs import Inputs
from limbeck.tasks import Task

PIXELS = "pixels in [0, 1] (8-bit values divided by 255)"
"""What networks get of uint8 images."""


@dataclass(frozen=True, eq=False)
class Source:
    """A data set, ready to train on.

    Attributes:
        name: the text that makes it, for the data sets that `limbeck.data.load` knows.
        kind: "image" (N, C, H, W), "table" (N, F), "text" (named tensors or token ids), or "other".
        train: what to learn from; may hold samples without a label.
        validation: what settings are chosen by; None if nothing was held out.
        test: what the final figures are measured on, and nothing else; None if there is none.
        task: what the targets are, and what networks are measured by.
        views: the policy that training draws from unless a run says otherwise.
        mean: mean of the training split, per channel (pixels in [0, 1]) or per feature; empty where inputs go
            to networks as they are.
        std: population standard deviation, per channel or feature like the mean; 1 where it would be 0.
        noise: what made training labels wrong, `noisy_labels(rate=0.4, ...)`; None if they are not spoiled.
        facts: what a network must know of the inputs and cannot see in an example, by the name of its
            argument: `vocab_size` of texts.
        files: what it takes to make such inputs, by file name; a run writes them beside its student.
        preparation: what the inputs are and how they were made, for who has to make such inputs elsewhere.
        columns: of a table, in their order, as networks take them; none for other inputs.
        hub: its name on the Hugging Face hub; None where it is from elsewhere.
        notes: sentences on what was left out or looks odd, for people and for records.
        skipped: what could not be read and was left out, with the reason, one by one.
        tokens: the tokenizer that made the ids of a language model's texts; None for other data.
        prompts: token ids of held-out texts, for language models to continue.
    """

    name: str
    kind: Kind
    train: Split
    validation: Split | None
    test: Split | None
    task: Task
    views: Views
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    noise: str | None = None
    facts: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    preparation: str = "values as in the data"
    columns: tuple[str, ...] = ()
    hub: str | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    tokens: Tokenization | None = None
    prompts: tuple[tuple[int, ...], ...] = ()

    def __repr__(self) -> str:
        splits = {"training": self.train, "validation": self.validation, "test": self.test}
        sizes = [f"{len(split):,} {which}" for which, split in splits.items() if split is not None]
        return f"<Source {self.name}: {self.task.name}, {', '.join(sizes)} samples, views {self.views}>"

    def example(self, size: int = 2, preparation: Preparation = AS_RENDERED) -> Inputs:
        """The first training samples as a network takes them.

        Args:
            size: how many samples.
            preparation: what the network reads of them.
        """
        index = self.train.index[:size]
        base = torch.full_like(index, self.views.base)
        samples = self.train.samples
        return preparation.read(samples.render(self.views, index, base), samples, index)

    def data_facts(self) -> DataFacts:
        """What a method may know of the training split."""
        counts = self.task.counts(self.train.targets)
        targets = self.train.targets_by_position
        return DataFacts(self.train.positions, self.fingerprint(), counts, targets, self.facts)

    def fingerprint(self) -> str:
        """16 hex digits of inputs, targets, splits and task; equal for equal data of any name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        parts = [
            f"{which} {split.samples.fingerprint} {digest(split.tensors)}"
            for which, split in splits.items()
            if split is not None
        ]
        return hashlib.sha256(f"{self.task.identity} {parts}".encode()).hexdigest()[:16]
