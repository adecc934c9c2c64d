"""What methods may know of the training set before training."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field

from torch import Tensor
from torch.utils.data import DataLoader

from limbeck.errors import LimbeckError


@dataclass(frozen=True)
class DataFacts:
    """What is known of the training set.

    Attributes:
        size: how many positions `Batch.index` counts among.
        fingerprint: a digest.
        class_counts: labels of each output, as `Task.counts` has them: labeled samples of each class.
        targets: (size, ...) target of the sample at each position, as the task has it: an int64 class id,
            `UNLABELED` if it has none, `ABSENT` where there is no sample.
        facts: what a network must know of the inputs and cannot see in an example, such as `vocab_size`.
    Raises:
        LimbeckError: for targets of another type or number.
    """

    size: int | None = None
    fingerprint: str | None = None
    class_counts: tuple[int, ...] | None = None
    targets: Tensor | None = field(default=None, compare=False, repr=False)
    facts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.targets is None:
            return
        if not isinstance(self.targets, Tensor) or self.targets.shape[:1] != (self.size,):
            raise LimbeckError(
                f"the targets of DataFacts(size={self.size}, ...) must be a tensor of {self.size} targets, "
                "one for each position"
            )

    @classmethod
    def of(cls, data: object) -> DataFacts:
        """What is known of a training set.

        Args:
            data: the set, a loader of it, or its size; a `Source`, `Split` or `Loader` of limbeck says most.
        Raises:
            LimbeckError: for anything else.
        """
        if isinstance(data, DataLoader):  # whose own length is in batches
            data = data.dataset
        if hasattr(data, "data_facts"):
            facts = data.data_facts()
            assert isinstance(facts, DataFacts)
            return facts
        if data is None or isinstance(data, DataFacts):
            return data or DataFacts()
        if isinstance(data, Sized) and not isinstance(data, (str, Mapping)):
            data = len(data)
        if type(data) is not int or data < 1:
            what = repr(data) if isinstance(data, (int, str)) else type(data).__name__
            raise LimbeckError(f"data must be the training set or its size, not {what}")
        return DataFacts(data)
