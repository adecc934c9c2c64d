"""Loaders: a split in batches, in an order and in views that any process can make again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from limbeck.data.hashing import mix
from limbeck.data.split import Split
from limbeck.data.views import Unchanged, Views, draw
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch


class Loader:
    """Batches of a split, epoch after epoch.

    The order of an epoch is a function of (seed, epoch), the views in it of (view_seed, index, epoch), and
    neither depends on the number of processes: rank r of `world` gets the r-th of `world` contiguous shares
    of each global batch, which differ by one sample at most. Every rank gets the same number of batches; a
    last batch of fewer samples than ranks is left out on all of them, so evaluate with `world=1`.

    Each `iter()` is the next epoch, the first is epoch 0; `set_epoch` says otherwise.

    Args:
        split: what to load.
        batch_size: samples in a global batch, over all ranks.
        views: the policy to draw views from; None shows every sample as it is (view 0 of a data set's own).
        seed: of the order.
        view_seed: of the views; `seed` if None. Runs that share it see the same views, and so share a cache.
        shuffle: False keeps the order of the split.
        drop_last: leaves out a last batch that is not full.
        device: where batches are made, with the samples moved there; None leaves them where they are.
        rank: which process this is, from 0.
        world: how many processes there are.
        extra_views: names of further views of the same samples, drawn independently, as `Batch.views[name]`.
    Raises:
        LimbeckError: for a batch smaller than the number of ranks, and where no batch would be left.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        views: Views | None = None,
        seed: int = 0,
        view_seed: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        rank: int = 0,
        world: int = 1,
        extra_views: Sequence[str] = (),
    ) -> None:
        if not 0 <= rank < world:
            raise LimbeckError(f"rank should be 0 to {world - 1} with {world} processes, not {rank}")
        if batch_size < world:
            raise LimbeckError(f"a batch of {batch_size} has no sample for each of {world} processes")
        full, rest = divmod(len(split), batch_size)
        self._batches = full + (not drop_last and rest >= world)
        if not self._batches:
            raise LimbeckError(
                f"{len(split)} samples in batches of {batch_size} for {world} process(es)"
                f"{' with drop_last' if drop_last else ''} leave no batch"
            )
        self.split = split if device is None else split.to(device)
        self.batch_size, self.rank, self.world = batch_size, rank, world
        self.views = views or Unchanged()
        self.seed, self.view_seed = seed, seed if view_seed is None else view_seed
        self.shuffle = shuffle
        self.epoch = 0
        # A stream is known by its name alone: one further view more or less leaves the others as they are.
        self._streams = {name: zlib.crc32(name.encode()) for name in extra_views}
        self._has_labels = split.has_labels

    def set_epoch(self, epoch: int) -> None:
        """Makes the next `iter()` that epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._iterate(epoch)

    def _iterate(self, epoch: int) -> Iterator[Batch]:
        order = self._order(epoch).to(self.split.index.device)
        for rows in torch.split(order, self.batch_size)[: len(self)]:
            share = rows.tensor_split(self.world)[self.rank]
            yield self._batch(share, epoch, None if self.world == 1 else len(rows))

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(len(self.split))
        generator = torch.Generator().manual_seed(int(mix(self.seed, epoch)))
        return torch.randperm(len(self.split), generator=generator)

    def _batch(self, rows: Tensor, epoch: int, total: int | None) -> Batch:
        samples, index = self.split.samples, self.split.index[rows]

        def drawn(stream: int) -> Tensor:
            return draw(self.view_seed, index, epoch, self.views.count, stream)

        view = drawn(0)
        return Batch(
            inputs=samples.render(self.views, index, view),
            targets=self.split.targets[rows] if self._has_labels else None,
            index=index,
            view=view,
            views={
                name: samples.render(self.views, index, drawn(number))
                for name, number in self._streams.items()
            },
            total=total,
        )
