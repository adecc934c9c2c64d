"""Methods that initialize the student: for some epochs their loss trains it, and then training begins."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.arguments import Count, Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Phase
from limbeck.outputs import Batch, Outputs


class Initializing(Method):
    """A method that is one phase: its loss trains the student and the method's own parts, if it has any.

    Training itself has no term of it and reads nothing for it, so it takes no weight and wants others beside
    it: `ce + fsp`. A subclass sets `reads` and writes `initialize`; its own `bind` calls this one's.

    Args:
        epochs: number of epochs of the phase, by the CRD benchmark's SGD without a schedule.
        lr: learning rate of the phase.
    """

    phases_only = True

    def __init__(self, epochs: Count = 30, lr: Positive = 0.05) -> None:
        super().__init__()
        self.epochs, self.lr = epochs, lr

    def bind(self, context: Context) -> None:
        """Notes the student that the phase trains."""
        self._student = (context.student_network,)  # in a tuple: it is no part of this module

    def initialize(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The loss of the phase."""
        raise NotImplementedError(f"{type(self).__name__} has no initialize")

    def phases(self) -> Sequence[Phase]:
        """The one phase, "initialize"."""
        from limbeck.optimization import SGD

        return [
            Phase(
                name="initialize",
                trains=[*self._student, *self.children()],
                loss=self.initialize,
                reads=self.reads,
                epochs=self.epochs,
                optimizer=SGD(lr=self.lr),
            )
        ]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """Nothing: the method is over when training begins."""
        return {}
