"""A teacher that is asked each question once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.byte_sizes import sized
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.data.source import Source
from limbeck.data.storage.base import spread
from limbeck.errors import LimbeckError
from limbeck.files import cache_directory
from limbeck.outputs import Batch, Inputs, Outputs, named
from limbeck.retold import Retold
from limbeck.sides import Side
from limbeck.tasks import Language
from limbeck.teachers.answers import Answers
from limbeck.teachers.asked import AskedNetwork
from limbeck.teachers.base import Teacher
from limbeck.teachers.ranks import TOP, Ranks

FIELDS = ("logits", "embedding")
"""What can be cached as it is: a vector or map for each sample, or a vector for each of its words."""
MAPS = "maps"
"""What stands for every other field of which methods say what they need: see `limbeck.sides`."""


class ShortOfRoom(UserWarning):
    """Says which views the budget of a cache has no room for."""


class CachedTeacher(Teacher):
    """A network whose answers for the training data are kept in files, in float16, and read back ever after.

    A batch must know `index` and `view` of its samples; what is asked about others, and whatever is asked
    if more is wanted than is kept, is answered by the network. A first answer is rounded as well, so that it
    is the same as when it is read back.

    The files are shared by all that ask the same network about the same data in the same views, preparation
    and precision, whatever the student, objective and seed. Several processes may use one at once. A network
    is the same if its weights are and if it answers alike to a few samples.

    Of stages and other fields it keeps what the methods that read them need, their sides (`limbeck.sides`). A
    field of which some method says nothing cannot be kept; then the network is asked about everything.

    After as many answers in a row as the data has samples, without one that was missing, the network is
    unloaded (where it can be made again), and a GPU that has the room gets all answers.

    Args:
        network: the teacher's network; it is put in eval mode, otherwise never changed.
        data: what the network is asked about: the samples of `data.train`, in the views `data.views`.
        fields: what is kept: "logits", "embedding", and "maps" for what methods need of other fields.
        views: how many views of each sample are asked about (see `limbeck.data.views.order`); all if None.
        top: of a language model, how many of the most probable tokens are kept of each position, up to 15
            more; of all others their sum is.
        preparation: what the network reads of a sample; batches have it in `teacher_inputs`, or as `inputs`.
        features: module paths that override what is found in the network, by field of the Outputs.
        rebuild: makes the network again. With it, the network is unloaded as long as the files answer.
        directory: where the files are; by default `teachers` under `$LIMBECK_CACHE`.
        budget: bytes that the files may take for the training samples. Where that is less than all views
            need, those that come into use first are kept, and the network is asked about the others each
            time; a warning says so, and also where there is no room for one view, so that nothing is kept.
    Attributes:
        names: the files that answer, as it is opened, by field or by the name of a side.
        views_kept: how many of the views of each sample these may have.
        shortage: a sentence on what the budget has no room for; empty where it has room for all.
        needs: the part of it that says how much is needed, and how much there is.
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
        top: int = TOP,
        preparation: Preparation = AS_RENDERED,
        features: Mapping[str, str | Sequence[str]] | None = None,
        rebuild: Callable[[], nn.Module] | None = None,
        directory: Path | None = None,
        budget: int | None = None,
    ) -> None:
        for field in fields:
            if field not in (*FIELDS, MAPS):
                raise LimbeckError(
                    f"a cache keeps {', '.join(FIELDS)} and {MAPS} of a teacher, not {field!r}"
                )
        self.keeps, self.preparation = tuple(fields), preparation
        samples, size = data.train.samples, data.train.positions
        index = spread(size, 4).to(data.train.index.device)  # of all: the key knows no split
        base = torch.full_like(index, data.views.base)
        probe = preparation.read(samples.render(data.views, index, base), samples, index)
        if isinstance(probe, Retold):
            raise LimbeckError(
                "a cache keeps what a teacher says of the tokens of the data, and this one has a tokenizer "
                "of its own; leave out cache_teacher (--cache-teacher)"
            )
        ranks = None
        if isinstance(data.task, Language) and "logits" in fields:
            assert data.train.targets is not None
            ranks = Ranks.of(top, data.train.targets.shape[1], data.task.width)
        self._asked = AskedNetwork(network, features, rebuild, probe, ranks)
        key: dict[str, str | int] = {
            "teacher": self._asked.name,
            "data": samples.full_fingerprint(),
            "samples": size,
            "views": str(data.views),
        }
        if ranks is not None:
            key["top"] = ranks.top
        if preparation != AS_RENDERED:
            key["preparation"] = preparation.key(samples)
        self._answers = Answers(
            directory or cache_directory() / "teachers",
            key,
            {"data": data.name},
            samples=size,
            views=data.views.count,
            in_use=views or data.views.count,
            fields=self._asked.fields,
        )
        self._samples_in_use, self._samples = len(data.train), size
        self._views, self._all_views = views or data.views.count, data.views.count
        self.views_kept, self.shortage, self.needs = self._all_views, "", ""
        self._budget, self._promised = budget, dict[str, int]()
        self.names: tuple[str, ...] = ()
        self._known_in_a_row = 0  # answers read, since one was missing

    @property
    def network(self) -> nn.Module:
        """The network, made again where it was unloaded."""
        return self._asked.live.network

    @property
    def shown(self) -> int:
        """How many samples the network was shown."""
        return self._asked.shown

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Finds the features in the network, and what it answers to a few samples."""
        self._answers.drop_tables()
        self._asked.told(self.width, self.dense)
        whole, sides = self.kept_of(fields, self.sides)
        self._asked.open(example, fields, whole, sides)
        self.points = self._asked.points
        self.names = (*whole, *(side.name for side in sides))
        self.views_kept = self._within_budget() if self.names else 0
        self.cached = tuple(fields) if self.views_kept else ()

    def kept_of(
        self, fields: Sequence[str], sides: Sequence[Side]
    ) -> tuple[tuple[str, ...], tuple[Side, ...]]:
        """What the files have to hold to answer in place of the network: fields as they are, and sides.

        Both are empty where there is something among the fields that cannot be kept.

        Args:
            fields: what is asked for.
            sides: what is needed in place of some of them.
        """
        if not all(self.serves(field, sides) for field in fields):
            return (), ()
        whole = tuple(field for field in fields if field in FIELDS)
        return whole, tuple(side for side in sides if side.field in fields and side.field not in FIELDS)

    def serves(self, field: str, sides: Sequence[Side]) -> bool:
        """Whether a field is kept, as it is or by its sides."""
        if field in FIELDS:
            return field in self.keeps
        return MAPS in self.keeps and self._asked.maps and any(side.field == field for side in sides)

    def bytes_of_view(self) -> dict[str, int]:
        """What a view of all training samples takes on disk, by the names of the files that answer."""
        return {name: self._samples_in_use * self._answers.row_bytes(name) for name in self.names}

    def _within_budget(self) -> int:
        """How many views of each sample may be kept, beside what was promised to other files before."""
        self.shortage = self.needs = ""
        if self._budget is None:
            return self._all_views
        sizes = self.bytes_of_view()
        others = sum(size for name, size in self._promised.items() if name not in sizes)
        each, left = sum(sizes.values()), max(0, self._budget - others)
        kept = min(self._views, left // each)
        self._promised |= {name: size * kept for name, size in sizes.items()}
        if kept < self._views:
            self.shortage = self._short(kept, each, left)
            warnings.warn(self.shortage, ShortOfRoom, stacklevel=2)
        return kept

    def _short(self, kept: int, each: int, left: int) -> str:
        """Says that the budget does not do for all views."""
        self.needs = (
            f"a view of {self._samples_in_use:,} samples takes {sized(each)}, and the budget of its cache "
            f"leaves {sized(left)}"
        )
        if not kept:
            return f"the teacher is asked live: {self.needs}"
        return (
            f"{kept} of {self._views} views are cached, for {self.needs}; about the others the teacher is "
            "asked live"
        )

    def release(self) -> None:
        """Unloads the network, if it can be made again and the files may answer."""
        if self.cached:
            self._asked.release()

    def __call__(self, batch: Batch) -> Outputs:
        """What the files say; the network is asked about what they do not know, and they learn it."""
        inputs = self.inputs_of(batch)
        self.preparation.check(inputs, self.name)
        if not self.cached or batch.index is None or batch.view is None:
            return self._asked.live(replace(batch, inputs=inputs, teacher_inputs={}))
        device = batch.index.device
        precision = self._asked.precision(device)
        if found := self._answers.on_device(precision, batch.index, batch.view):
            return self._shaped(found, inputs)
        rows = self._answers.rows(batch.index, batch.view)
        read = {name: self._answers.read(name, precision, rows) for name in self.names}
        missing = ~np.all([there for _, there in read.values()], axis=0)
        kept = rows < self.views_kept * self._samples
        # The others are asked about apart, so that their answers do not depend on what else was missing.
        for chosen in (missing & kept, missing & ~kept):
            if chosen.any():
                self._ask(inputs, chosen, precision, rows, read, kept)
        self._count(len(rows), bool(missing.any()), device)
        return self._shaped(
            {name: torch.from_numpy(values).to(device) for name, (values, _) in read.items()}, inputs
        )

    def _ask(
        self,
        inputs: Inputs,
        chosen: NDArray[np.bool_],
        precision: str,
        rows: NDArray[np.int64],
        read: Mapping[str, tuple[NDArray[np.float16], NDArray[np.bool_]]],
        kept: NDArray[np.bool_],
    ) -> None:
        """Puts the network's answers for the chosen samples where they were not read, and in the files."""
        answer = self._asked.ask(inputs, chosen, self.names)
        for name, (values, there) in read.items():
            lacking = chosen & ~there  # what another field lacks alone stays as it was read
            values[lacking] = answer[name][~there[chosen]]
            new = lacking & kept
            self._answers.write(name, precision, rows[new], values[new])

    def _shaped(self, values: Mapping[str, Tensor], inputs: Inputs) -> Outputs:
        """The answers (B, width) of each field in the shape that the network gives them, and those of sides.

        What is kept of a language model's logits is given as `ranked`.
        """
        made: dict[str, Any] = {}
        sides: dict[str, Tensor] = {}
        for field, each in values.items():
            if self._asked.ranks is not None and field == "logits":
                made["ranked"] = self._asked.ranks.unpack(each, next(iter(named(inputs).values())).shape[1])
            else:
                shape = self._asked.fields[field].shape
                into = made if field in FIELDS else sides
                into[field] = each.to(self._asked.dtype).view(len(each), *shape)
        return Outputs(**made, **({"sides": sides} if sides else {}))

    @property
    def top(self) -> int | None:  # type: ignore[override]
        """How many tokens the answers tell apart, as the teacher is opened; None where it is all."""
        return self._asked.ranks.top if self._asked.ranks is not None and "logits" in self.cached else None

    def missing(self, index: Tensor, view: Tensor) -> Tensor:
        """Which samples (B,), in these views, would have to be asked about: (B,) bool on the CPU."""
        rows, precision = self._answers.rows(index, view), self._asked.precision(index.device)
        there = [self._answers.read(field, precision, rows)[1] for field in self.names]
        return torch.from_numpy(~np.all(there, axis=0))

    def compiled(self) -> AbstractContextManager[None]:
        """As the network, if that answers every batch; otherwise it gets batches of any size, uncompiled."""
        return nullcontext() if self.cached else self._asked.live.compiled()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network, also one that is made later."""
        self._answers.drop_tables()
        self._asked.apply(function)

    def _count(self, read: int, missed: bool, device: torch.device) -> None:
        """Unloads the network, and puts the answers on the device, once none seems to be missing."""
        self._known_in_a_row = 0 if missed else self._known_in_a_row + read
        if self._known_in_a_row >= self._samples_in_use:
            self.release()
            self._answers.put_on(device, self._asked.precision(device), self.names)
            self._known_in_a_row = 0
