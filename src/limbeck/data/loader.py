"""Loaders: a split in batches, in an order and in views that any process can make again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from limbeck.data.prefetch import in_order
from limbeck.data.split import Split
from limbeck.data.views import Unchanged, Views, draw
from limbeck.data.views.order import nth_view
from limbeck.data_facts import DataFacts
from limbeck.errors import LimbeckError
from limbeck.hashing import mix
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
        batch_size: samples in a global batch, over all ranks; fewer without `shuffle`, where the memory that
            decoded images may take holds no more.
        views: the policy to draw views from; None shows every sample as it is (view 0 of a data set's own).
        seed: of the order.
        view_seed: of the views; `seed` if None.
        views_per_sample: how many of the policy's views are drawn among, for each sample its own, the same
            in every run (see `limbeck.data.views.order`): the fewer, the sooner a cached teacher knows them
            all. None draws among all.
        shuffle: False keeps the order of the split.
        drop_last: leaves out a last batch that is not full.
        device: where batches are made, with the samples moved there; None leaves them where they are.
        rank: which process this is, from 0.
        world: how many processes there are.
        extra_views: names of further views of the same samples, drawn independently, as `Batch.views[name]`.
    Raises:
        LimbeckError: for a batch smaller than the number of ranks or larger than the memory, where no batch
            would be left, and for more views per sample than there are.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        views: Views | None = None,
        seed: int = 0,
        view_seed: int | None = None,
        views_per_sample: int | None = None,
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
        split = split if device is None else split.to(device)
        if not shuffle:  # as when a network is measured, which no batch size changes
            batch_size = max(world, min(batch_size, split.samples.most // (1 + len(extra_views))))
        full, rest = divmod(len(split), batch_size)
        self._batches = full + (not drop_last and rest >= world)
        if not self._batches:
            raise LimbeckError(
                f"{len(split)} samples in batches of {batch_size} for {world} process(es)"
                f"{' with drop_last' if drop_last else ''} leave no batch"
            )
        split.samples.check_batch(min(batch_size, len(split)), 1 + len(extra_views))
        self.split = split
        self.batch_size, self.rank, self.world = batch_size, rank, world
        self.views = views or Unchanged()
        self.views_per_sample = checked_number(views_per_sample, self.views)
        self.seed, self.view_seed = seed, seed if view_seed is None else view_seed
        self.shuffle = shuffle
        self.epoch = 0
        # A stream is known by its name alone: one further view more or less leaves the others as they are.
        self._streams = {name: zlib.crc32(name.encode()) for name in extra_views}
        self._has_labels = split.has_labels

    def set_epoch(self, epoch: int) -> None:
        """Makes the next `iter()` that epoch, counted from 0."""
        self.epoch = epoch

    def data_facts(self) -> DataFacts:
        """What a method may know of the split."""
        return self.split.data_facts()

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._iterate(epoch)

    def _iterate(self, epoch: int) -> Iterator[Batch]:
        order = self._order(epoch).to(self.split.index.device)
        batches = torch.split(order, self.batch_size)[: len(self)]
        jobs = (partial(self._share, rows, epoch) for rows in batches)
        samples, shown = self.split.samples, self.batch_size * (1 + len(self._streams))
        return in_order(jobs, min(samples.workers, samples.most // shown))

    def _share(self, rows: Tensor, epoch: int) -> Batch:
        """What this process gets of a global batch."""
        share = rows.tensor_split(self.world)[self.rank]
        return self._batch(share, epoch, None if self.world == 1 else len(rows))

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(len(self.split))
        generator = torch.Generator().manual_seed(int(mix(self.seed, epoch)))
        return torch.randperm(len(self.split), generator=generator)

    def _batch(self, rows: Tensor, epoch: int, total: int | None) -> Batch:
        samples, index = self.split.samples, self.split.index[rows]

        count, among = self.views.count, self.views_per_sample

        def drawn(stream: int) -> Tensor:
            place = draw(self.view_seed, index, epoch, among, stream)
            return place if among == count else nth_view(index, place, count)

        view = drawn(0)
        numbers = {name: drawn(stream) for name, stream in self._streams.items()}
        return Batch(
            inputs=samples.render(self.views, index, view),
            targets=self.split.targets[rows] if self._has_labels else None,
            index=index,
            view=view,
            views={name: samples.render(self.views, index, number) for name, number in numbers.items()},
            view_numbers=numbers,
            total=total,
        )


def checked_number(views_per_sample: int | None, views: Views) -> int:
    """How many views of each sample are drawn among: all if None; refuses more than there are."""
    if views_per_sample is None:
        return views.count
    if not 1 <= views_per_sample <= views.count:
        raise LimbeckError(
            f'the views "{views}" are {views.count:,}, so {views_per_sample} of each sample cannot be drawn'
            f" among; take 1 to {views.count:,}"
        )
    return views_per_sample
