"""What tasks have in common whose outputs are an embedding for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from limbeck.outputs import Batch, Outputs
from limbeck.tasks.base import Task
from limbeck.tasks.parts.vectors import Score, check_vectors
from limbeck.tasks.rows import Rows


@dataclass(frozen=True)
class EmbeddingTask(Task):
    """A sample is one text, and a row is a sample; the output is its embedding (B, D).

    Args:
        names: none, as outputs have no names.
        score: how two texts are compared, "cosine" or "dot".
    """

    hub_tag: ClassVar[str | None] = "sentence-similarity"
    scores: ClassVar[Literal["classes", "values", "vectors"]] = "vectors"
    embeds: ClassVar[bool] = True

    names: tuple[str, ...] = ()
    score: Score = "cosine"

    @property
    def summary(self) -> str:
        """What the outputs are."""
        return "an embedding for each text"

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> EmbeddingTask:
        """The task, which is the same for all targets."""
        return cls()

    @classmethod
    def of_width(cls, width: int) -> EmbeddingTask:
        """The task, which is the same for all widths."""
        return cls()

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, D)."""
        check_vectors(logits, role, self.name)

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The texts."""
        return Rows(len(batch), batch.targets)
