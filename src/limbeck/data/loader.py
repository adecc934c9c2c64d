"""Loaders: a split in batches, in an order and in views that any process can make again."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from limbeck.data.prefetch import in_order
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.data.split import Split
from limbeck.data.views import Unchanged, Views, draw
from limbeck.data.views.order import nth_view
from limbeck.data_facts import DataFacts
from limbeck.errors import LimbeckError
from limbeck.hashing import mix
from limbeck.outputs import ABSENT, Batch, Inputs, mean_one, named, part_of
from limbeck.tasks import Task

WINDOW = 50
"""Batches, at most, whose samples are sorted by length together."""


class Loader:
    """Batches of a split, epoch after epoch.

    The order of an epoch is a function of (seed, epoch), and of the samples' lengths where the student brings
    its own tokenizer (see `by_length`); the views in it are one of (view_seed, index, epoch). Neither depends
    on the number of processes: rank r of `world` gets the r-th of `world` contiguous shares of each global
    batch, which differ by one sample at most. Every rank gets the same number of batches; a last batch of
    fewer samples than ranks is left out on all of them, so evaluate with `world=1`.

    With `samples_per_epoch` the epochs are stretches of that length of one pass over the split after the
    other; order and views are then functions of the number of the pass in place of that of the epoch.

    Where samples of a split belong together, such as a query and its documents, they stay so in every batch,
    and a batch has as many samples as make whole ones, at most `batch_size`; `shuffle=False` parts them.

    Each `iter()` is the next epoch, the first is epoch 0; `set_epoch` says otherwise.

    Args:
        split: what to load.
        batch_size: samples in a global batch, over all ranks; fewer without `shuffle`, where the memory that
            decoded images may take holds no more.
        views: the policy to draw views from; None shows every sample as it is (view 0 of a data set's own).
        seed: random seed of the order.
        view_seed: random seed of the views; `seed` if None.
        views_per_sample: how many of the policy's views are drawn among, for each sample its own, the same
            in every run (see `limbeck.data.views.order`): the fewer, the sooner a cached teacher knows them
            all. None draws among all.
        shuffle: False keeps the order of the split.
        drop_last: leaves out a last batch that is not full.
        device: where batches are made, with the samples moved there; None leaves them where they are.
        rank: which process this is, from 0.
        world: how many processes there are.
        extra_views: names of further views of the same samples, drawn independently, as `Batch.views[name]`.
        samples_per_epoch: length of an epoch; that of the split, so that an epoch is a pass, if None.
        preparation: what the student reads of a sample, as `Batch.inputs`.
        teacher_preparations: what each teacher reads of the same view, by the teacher's name, as
            `Batch.teacher_inputs[name]`; a teacher whose preparation is the student's is not named there.
    Raises:
        LimbeckError: for a batch smaller than the number of ranks, than what belongs together, or larger than
            the memory, where no batch would be left, for more views per sample than there are, and for
            further views where a teacher has a preparation of its own.
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
        samples_per_epoch: int | None = None,
        preparation: Preparation = AS_RENDERED,
        teacher_preparations: Mapping[str, Preparation] | None = None,
    ) -> None:
        if not 0 <= rank < world:
            raise LimbeckError(f"rank should be 0 to {world - 1} with {world} processes, not {rank}")
        if batch_size < world:
            raise LimbeckError(f"a batch of {batch_size} has no sample for each of {world} processes")
        split = split if device is None else split.to(device)
        self._together = split.together if shuffle else 1
        batch_size = whole_batch(batch_size, self._together, world)
        self.preparation = preparation
        given = teacher_preparations or {}
        self.teacher_preparations = {name: how for name, how in given.items() if how != preparation}
        if extra_views and self.teacher_preparations:
            name, how = next(iter(self.teacher_preparations.items()))
            raise LimbeckError(
                f"further views ({', '.join(extra_views)}) are made for the student alone, and {name} reads"
                f" another preparation of them ({how}); give both networks one size"
            )
        if split.task.boxed and {preparation, *given.values()} != {AS_RENDERED}:
            raise LimbeckError(
                "boxes are in pixels of the images as the data has them, so both networks read these; leave "
                "out student.size and teacher.size, and scale the images of the data, resize=[height, width]"
            )
        self._shown = _shown(split, {preparation, *self.teacher_preparations.values()}, 1 + len(extra_views))
        if not shuffle:  # as when a network is measured, which no batch size changes
            most = min(split.samples.most // self._shown, split.samples.at_once)
            batch_size = max(world, min(batch_size, most))
        samples = samples_per_epoch or len(split)
        self.samples_per_epoch = -(-samples // self._together) * self._together
        full, rest = divmod(self.samples_per_epoch, batch_size)
        self._batches = full + (not drop_last and rest // self._together >= world)
        if not self._batches:
            raise LimbeckError(
                f"{self.samples_per_epoch} samples in batches of {batch_size} for {world} process(es)"
                f"{' with drop_last' if drop_last else ''} leave no batch"
            )
        split.samples.check_batch(min(batch_size, self.samples_per_epoch), self._shown)
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
        told = split.judgments
        self._judgments = split.task.judgments(split.targets) if told is None else told

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
        return self.skipping(0)

    def skipping(self, batches: int) -> Iterator[Batch]:
        """The next epoch without its first batches, which are not even made."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._iterate(epoch, batches)

    def _iterate(self, epoch: int, first: int) -> Iterator[Batch]:
        order, passes = (each.to(self.split.index.device) for each in self._order(epoch))
        batches = zip(
            *(torch.split(each, self.batch_size)[first : len(self)] for each in (order, passes)), strict=True
        )
        jobs = (partial(self._share, rows, passes, epoch) for rows, passes in batches)
        samples, shown = self.split.samples, self.batch_size * self._shown
        return in_order(jobs, min(samples.workers, samples.most // shown))

    def _share(self, rows: Tensor, passes: Tensor, epoch: int) -> Batch:
        """What this process gets of a global batch."""
        mine, of_pass = (part_of(each, self.rank, self.world, self._together) for each in (rows, passes))
        batch = self._batch(mine, of_pass, epoch, None if self.world == 1 else len(rows))
        if self.split.weights is None:
            return batch
        weights = part_of(mean_one(self.split.weights[rows]), self.rank, self.world, self._together)
        return replace(batch, weights=weights)

    def _order(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The rows of an epoch, and for each the number of the pass over the split that it is in."""
        size, held = self.samples_per_epoch, len(self.split)
        passes = torch.arange(epoch * size, (epoch + 1) * size) // held
        rows = torch.cat([self._pass(number) for number in range(int(passes[0]), int(passes[-1]) + 1)])
        return rows[epoch * size % held :][:size], passes

    def _pass(self, number: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(len(self.split))
        generator = torch.Generator().manual_seed(int(mix(self.seed, number)))
        together = self._together
        order = torch.randperm(len(self.split) // together, generator=generator)
        lengths = self.preparation.lengths(self.split.samples, self.split.index)
        if lengths is not None:
            longest = lengths.view(-1, together).amax(1)
            order = by_length(order, longest, self.batch_size // together, generator)
        return order if together == 1 else (order[:, None] * together + torch.arange(together)).flatten()

    def _batch(self, rows: Tensor, passes: Tensor, epoch: int, total: int | None) -> Batch:
        samples, index = self.split.samples, self.split.index[rows]
        count, among = self.views.count, self.views_per_sample
        first, of_epoch = self.views.of_epoch(epoch)

        def drawn(stream: int) -> Tensor:
            if among == count:
                return first + draw(self.view_seed, index, passes, of_epoch, stream)
            return nth_view(index, draw(self.view_seed, index, passes, among, stream), count)

        view = drawn(0)
        numbers = {name: drawn(stream) for name, stream in self._streams.items()}
        rendered = samples.render(self.views, index, view)
        preparations = {self.preparation, *self.teacher_preparations.values()}
        prepared = {how: how.read(rendered, samples, index) for how in preparations}
        further = {name: samples.render(self.views, index, number) for name, number in numbers.items()}
        return Batch(
            inputs=prepared[self.preparation],
            targets=self._targets(rows, view, rendered) if self._has_labels else None,
            index=index,
            view=view,
            views={name: self.preparation.read(inputs, samples, index) for name, inputs in further.items()},
            view_numbers=numbers,
            teacher_inputs={name: prepared[how] for name, how in self.teacher_preparations.items()},
            total=total,
            bytes=samples.bytes(index),
            together=self._together,
            judgments=self._judgments,
        )

    def _targets(self, rows: Tensor, view: Tensor, rendered: Inputs) -> Tensor:
        """The targets in the views of their samples."""
        targets, task = self.split.targets[rows], self.split.task
        if not task.spatial:
            # A batch of texts ends with its longest one.
            texts = task.dense and not isinstance(rendered, Tensor)
            return targets[:, : next(iter(named(rendered).values())).shape[1]] if texts else targets
        if task.boxed:
            return self._boxes(targets, self.split.index[rows], view)
        stored = targets.long()  # which a split may keep as uint8
        index = self.split.index[rows]
        maps = self.views.render_target(stored, index, view, ignored=task.ignored)
        maps = self.split.samples.cut(maps, index)
        if isinstance(rendered, Tensor):
            _check_sizes(maps, rendered, task)
        return maps

    def _boxes(self, targets: Tensor, index: Tensor, view: Tensor) -> Tensor:
        """The boxes (B, M, 5) in the views of their samples; one that has left its view is none any more."""
        if isinstance(self.views, Unchanged):
            return targets
        moved, _ = self.views.render_boxes(targets[..., :4], self._size, index, view)
        lost = (moved[..., 2:] <= moved[..., :2]).any(-1, keepdim=True)
        return torch.cat([moved.where(~lost, 0), targets[..., 4:].where(~lost, ABSENT)], -1)

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Height and width of the images as they are stored."""
        first = self.split.index[:1]
        images = self.split.samples.render(Unchanged(), first, torch.zeros_like(first))
        if not isinstance(images, Tensor) or images.ndim != 4:
            raise LimbeckError("boxes are in images (N, channels, height, width), and the inputs are none")
        return images.shape[2], images.shape[3]


def whole_batch(batch_size: int, together: int, world: int = 1) -> int:
    """The samples of a batch of at most `batch_size` in which what belongs together is whole.

    Args:
        batch_size: samples in a batch, at most.
        together: how many samples belong together.
        world: how many processes share the batch.
    Raises:
        LimbeckError: if there is no room for what belongs together on each process.
    """
    if together > 1 and batch_size < together * world:
        each = f" for each of {world} processes" if world > 1 else ""
        raise LimbeckError(
            f"a batch of {batch_size} texts has no room for a query with its documents, {together} "
            f"texts{each}; give it {together * world} or more"
        )
    return batch_size // together * together


def by_length(order: Tensor, lengths: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    """An order in which a batch has samples of about one length, so that little of it is padding.

    In every window of an eighth of the batches, and at most `WINDOW`, samples are sorted by length and parted
    anew; then the batches are shuffled. A last batch that is not full stays as it is.

    Args:
        order: (N,) int64 random order.
        lengths: (N,) int64 length of each sample.
        batch_size: samples in a batch.
        generator: what the batches are shuffled by.
    """
    full = len(order) // batch_size
    window, batches = max(1, min(WINDOW, -(-full // 8))), list[Tensor]()
    for some in torch.split(order[: full * batch_size], window * batch_size):
        longest_first = some[lengths[some].argsort(stable=True, descending=True)]
        batches += torch.split(longest_first, batch_size)
    shuffled = torch.randperm(full, generator=generator).tolist()
    return torch.cat([*(batches[number] for number in shuffled), order[full * batch_size :]])


def checked_number(views_per_sample: int | None, views: Views) -> int:
    """How many views of each sample are drawn among: all if None; refuses more than there are."""
    if views_per_sample is None:
        return views.count
    if not 1 <= views_per_sample <= views.count:
        raise LimbeckError(
            f'the views "{views}" are {views.count:,}, so {views_per_sample} of each sample cannot be drawn'
            f" among; take 1 to {views.count:,}"
        )
    if views_per_sample < views.count and views.of_epoch(0) != (0, views.count):
        raise LimbeckError(
            f'the views "{views}" change with the epoch, so {views_per_sample} of each sample cannot be drawn'
            " among in all epochs; leave the number out, and give the policies smaller counts"
        )
    return views_per_sample


def _shown(split: Split, preparations: Collection[Preparation], views: int) -> int:
    """How many samples as they are stored take the memory of one sample in all its views and preparations."""
    changed = [how for how in preparations if how != AS_RENDERED]
    if not changed or split.samples.most == sys.maxsize:
        return views
    one = split.samples.render(Unchanged(), split.index[:1], torch.zeros_like(split.index[:1]))
    stored = sum(tensor.numel() for tensor in named(one).values())
    made = [sum(tensor.numel() for tensor in named(how(one)).values()) for how in changed]
    return views + sum(-(-size // stored) for size in made)


def _check_sizes(maps: Tensor, images: Tensor, task: type[Task]) -> None:
    """Refuses targets of another size than their images, or than a multiple of it where that is right."""
    sides = tuple(zip(maps.shape[-2:], images.shape[-2:], strict=True))
    if all(target == side for target, side in sides):
        return
    if not task.restores:
        raise LimbeckError(
            f"the targets are maps of {_pixels(maps)} and the images have {_pixels(images)}; a map"
            " should have a target for each pixel of its image"
        )
    if any(target % side for target, side in sides) or len({target // side for target, side in sides}) > 1:
        raise LimbeckError(
            f"the targets are images of {_pixels(maps)} and the inputs have {_pixels(images)}; a target"
            " should be larger than its input by the same whole factor along both sides"
        )


def _pixels(maps: Tensor) -> str:
    return " x ".join(map(str, maps.shape[-2:])) + " pixels"
