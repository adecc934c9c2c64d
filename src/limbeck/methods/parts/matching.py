"""What methods have in common that compare the embeddings of two networks, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.widths import projection
from limbeck.outputs import Batch, Outputs


class EmbeddingMatching(Method):
    """Compares the student's embedding of each sample with the teacher's, by `loss`.

    Where the widths differ, a linear layer without bias maps the student's embedding to the teacher's space;
    it is trained along and not shipped.

    Args:
        projection: whether there may be such a layer; false refuses networks of different widths.
    """

    reads = Reads(student=("embedding",), teacher=("embedding",))
    row_wise = True
    loss: ClassVar[Callable[..., Tensor]]

    def __init__(self, projection: bool = True) -> None:
        super().__init__()
        self.allowed = projection

    def bind(self, context: Context) -> None:
        """Builds the projection where the widths differ."""
        self.project = projection(context, self.name, allowed=self.allowed)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        return type(self).loss(self.project(student.embedding), teacher.embedding)
