"""A teacher that is asked each question once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.data.source import Source
from limbeck.data.storage.base import named, spread
from limbeck.data.views.order import place_of
from limbeck.errors import LimbeckError
from limbeck.files import cache_directory
from limbeck.outputs import Batch, Inputs, Outputs, apply
from limbeck.teachers.base import Teacher
from limbeck.teachers.device_table import resident
from limbeck.teachers.reloadable import Reloadable
from limbeck.teachers.store import Store, path_of

FIELDS = ("logits", "embedding")
"""What can be cached: a vector for each sample."""


class CachedTeacher(Teacher):
    """A network whose answers for the training data are kept in files, in float16, and read back ever after.

    A batch must know `index` and `view` of its samples; what is asked about others, and whatever is asked
    if more is wanted than is kept, is answered by the network. A first answer is rounded as well, so that it
    is the same as when it is read back.

    The files are shared by all that ask the same network about the same data in the same views and precision,
    whatever the student, objective and seed. Several processes may use one at once. A network is the same if
    its weights are and if it answers alike to a few samples.

    Args:
        network: put in eval mode, otherwise never changed.
        data: what it is asked about: the samples of `data.train`, in the views `data.views`.
        fields: of "logits" and "embedding", those that are kept.
        views: of each sample, how many are asked about (see `limbeck.data.views.order`); all if None. Once
            they are all there, a GPU that has the room for them gets them whole.
        features: module paths that override what is found in the network, by field of the Outputs.
        rebuild: makes the network again. With it, the network is let go of as long as the files answer.
        directory: of the files; by default `teachers` under `$LIMBECK_CACHE`.
    Raises:
        LimbeckError: for a field that cannot be kept, and for data that is another when it is read again.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Source,
        fields: Sequence[str] = ("logits",),
        *,
        views: int | None = None,
        features: Mapping[str, str | Sequence[str]] | None = None,
        rebuild: Callable[[], nn.Module] | None = None,
        directory: Path | None = None,
    ) -> None:
        for field in fields:
            if field not in FIELDS:
                raise LimbeckError(f"a cache keeps {' and '.join(FIELDS)} of a teacher, not {field!r}")
        self._teacher = Reloadable(network, features, rebuild)
        self.keeps = tuple(fields)
        self._directory = directory or cache_directory() / "teachers"
        self._size, self._views = data.train.positions, data.views.count
        self._rows_in_use = self._size * (views or self._views)
        self._in_use = len(data.train)
        self._known_in_a_row = 0  # answers read, since one was missing
        self._warned = False
        self._tables: dict[str, Mapping[str, Tensor]] = {}  # on the device, by precision
        self._key: dict[str, str | int] = {
            "teacher": f"{type(network).__name__} {self._teacher.digest}",
            "data": data.train.samples.full_fingerprint(),
            "samples": self._size,
            "views": str(data.views),
        }
        index = spread(self._size, 4).to(data.train.index.device)  # of all: the key knows no split
        base = torch.full_like(index, data.views.base)
        self._probe_inputs = data.train.samples.render(data.views, index, base)
        self._probes: dict[str, list[float]] = {}
        self._about = {"data": data.name}
        self._widths: dict[str, int] = {}
        self._stores: dict[tuple[str, str], Store] = {}

    @property
    def network(self) -> nn.Module:
        """The network, made again where it was let go of."""
        return self._teacher.live.network

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Finds the features in the network, and what it answers to a few samples."""
        self._teacher.open(example, fields)
        self._example = example
        self.cached = tuple(fields) if set(fields) <= set(self.keeps) else ()
        self._tables = {}
        if self.points is not None and set(self.cached) <= set(self._probes):
            return  # nothing of the network, which need not be there
        self.points = self._teacher.live.points
        answer = self._teacher.live(Batch(self._like_example(self._probe_inputs)))
        for field in self.cached:
            if answer[field].ndim != 2:
                raise LimbeckError(
                    f"the teacher's {field} of a sample should be a vector to be kept, not of shape "
                    f"{tuple(answer[field].shape[1:])}; train without a cache of the {field}"
                )
            self._widths[field] = answer[field].shape[1]
            numbers = answer[field].flatten().tolist()
            some = spread(len(numbers), 32).tolist()
            self._probes[field] = [float(f"{numbers[place]:.4g}") for place in some]
        self._dtype = torch.promote_types(answer.logits.dtype, torch.float32)

    def release(self) -> None:
        """Lets go of the network, if it can be made again and the files may answer."""
        if self.cached:
            self._teacher.release()

    def __call__(self, batch: Batch) -> Outputs:
        """What the files say; the network is asked about what they do not know, and they learn it."""
        if not self.cached or batch.index is None or batch.view is None:
            return self._teacher.live(batch)
        if table := self._tables.get(self._precision(batch.index.device)):
            place = place_of(batch.index, batch.view, self._views)
            return Outputs(
                **{
                    field: rows.view(-1, self._size, rows.shape[1])[place, batch.index].to(self._dtype)
                    for field, rows in table.items()
                }
            )
        rows = self._rows(batch.index, batch.view)
        stores = [self._store(field, batch.index.device) for field in self.cached]
        read = [store.read(rows) for store in stores]
        missing = ~np.all([there for _, there in read], axis=0)
        if missing.any():
            answer = self._ask(batch, missing)
            for (values, there), store, field in zip(read, stores, self.cached, strict=True):
                new = ~there[missing]  # what another field lacks alone stays as it was read
                values[~there] = answer[field][new]
                store.write(rows[~there], answer[field][new])
            self._warn_of(stores)
        self._count(rows, bool(missing.any()), batch.index.device)
        return Outputs(
            **{
                field: torch.from_numpy(values).to(batch.index.device).to(self._dtype)
                for (values, _), field in zip(read, self.cached, strict=True)
            }
        )

    def missing(self, index: Tensor, view: Tensor) -> Tensor:
        """Which samples (B,), in these views, would have to be asked about: (B,) bool on the CPU."""
        rows = self._rows(index, view)
        there = [self._store(field, index.device).read(rows)[1] for field in self.cached]
        return torch.from_numpy(~np.all(there, axis=0))

    def compiled(self) -> AbstractContextManager[None]:
        """As the network, if that answers every batch; otherwise it gets batches of any size, uncompiled."""
        return nullcontext() if self.cached else self._teacher.live.compiled()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network, also one that is made later."""
        self._tables = {}
        self._teacher.apply(function)

    def _count(self, rows: NDArray[np.int64], missed: bool, device: torch.device) -> None:
        """Lets go of the network, and puts the answers on the device, once none seems to be missing.

        So it seems when as many answers in a row were there as the data has samples.
        """
        if len(rows) and rows.max() >= self._rows_in_use:  # of more views than were named
            self._rows_in_use = self._size * self._views
        self._known_in_a_row = 0 if missed else self._known_in_a_row + len(rows)
        if self._known_in_a_row >= self._in_use:
            self.release()
            stores = {field: self._store(field, device) for field in self.cached}
            self._tables[self._precision(device)] = resident(stores, self._rows_in_use, device)
            self._known_in_a_row = 0

    def _warn_of(self, stores: Sequence[Store]) -> None:
        """Says once that the cache takes no more."""
        problem = next((store.problem for store in stores if store.problem), None)
        if problem and not self._warned:
            self._warned = True
            warnings.warn(
                f"the teacher's further answers are not kept: {str(self._directory)!r} cannot be written "
                f"({problem})",
                stacklevel=3,
            )

    def _like_example(self, inputs: Inputs) -> Inputs:
        """Inputs where the example is, in its precision."""
        device, dtype = next(iter(named(self._example).values())).device, self._inputs_dtype
        return apply(lambda t: t.to(device, dtype) if t.is_floating_point() else t.to(device), inputs)

    def _ask(self, batch: Batch, chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.float16]]:
        """The network's answers for some samples of the batch, rounded."""
        where = torch.from_numpy(chosen)
        inputs = apply(lambda tensor: tensor[where.to(tensor.device)], batch.inputs)
        outputs = self._teacher.live(Batch(inputs))
        answer = {}
        for field in self.cached:
            rounded = outputs[field].half()
            if bool((rounded.isinf() & outputs[field].isfinite()).any()):
                raise LimbeckError(
                    f"the teacher's {field} holds numbers beyond 65,504, which float16 cannot; train without "
                    f"a cache of the {field}"
                )
            answer[field] = rounded.cpu().numpy()
        return answer

    def _rows(self, index: Tensor, view: Tensor) -> NDArray[np.int64]:
        """Views that come into use early lie together, so that a file is filled from its front."""
        positions = index.cpu()
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < self._size:
            raise LimbeckError(
                f"the index of a batch runs from {int(positions.min())} to {int(positions.max())}, but the "
                f"data that the teacher's answers are kept for has {self._size} samples"
            )
        rows: NDArray[np.int64] = (
            place_of(positions, view.cpu(), self._views) * self._size + positions
        ).numpy()
        return rows

    def _store(self, field: str, device: torch.device) -> Store:
        """The file of a field, in the precision of here and now."""
        precision = self._precision(device)
        if (field, precision) not in self._stores:
            assert self.points is not None
            place = ", ".join(map(str, self.points.of(field)))
            key = {**self._key, "field": field, "point": place, "precision": precision}
            width, probe = self._widths[field], self._probes[field]
            path = path_of(self._directory, key, width, probe)
            self._stores[field, precision] = Store(path, key, width, self._about, probe)
        return self._stores[field, precision]

    def _precision(self, device: torch.device) -> str:
        """What the network computes in: autocast's type, or that of its inputs."""
        if torch.is_autocast_enabled(device.type):
            return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
        return str(self._inputs_dtype).removeprefix("torch.")

    @property
    def _inputs_dtype(self) -> torch.dtype:
        floats = (tensor.dtype for tensor in named(self._example).values() if tensor.is_floating_point())
        return next(floats, torch.float32)
