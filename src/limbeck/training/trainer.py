"""The one loop. It minimizes what a module returns and knows nothing of distillation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accelerate import Accelerator
from accelerate.state import GradientState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn

from limbeck.features import BatchNorm
from limbeck.intervals import Interval
from limbeck.stopping import stoppable
from limbeck.training.choices import Choices, MemoryFormat, Precision, Sharding, resolve_precision
from limbeck.training.devices import device_for
from limbeck.training.display import Display
from limbeck.training.fitting import Fitting
from limbeck.training.history import History
from limbeck.training.loop import Loop
from limbeck.training.records import Records
from limbeck.training.trackers import begin, check_trackers, writing_told
from limbeck.training.trials import check_compiler
from limbeck.training.world import (
    answering,
    check_unsharded,
    check_world,
    ended_at_exit,
    half_launched,
    launched_on_cpu,
)

if TYPE_CHECKING:
    from limbeck.training.sharding import Sharder


class Trainer:
    """Runs loops one after the other: phases first, then the training.

    Args:
        device: "auto" takes the accelerator there is; "cpu" none. Its own name, "cuda", insists on it, and
            "cuda:1" on one of several.
        precision: "bf16" runs the networks under bfloat16 autocast; losses are float32 all the same. "fp16"
            is float16 with a scale for the gradients, on CUDA alone. "auto" is "bf16" where the processor
            multiplies matrices in it (CUDA, AMX, AVX512-BF16), or else "fp32".
        memory_format: of images. "auto" gives them to convolutional networks channels-last if they can take
            that; "contiguous" leaves them as they are.
        compile: whether a loop that can be compiled is; "auto" times both ways on its first batch, where a
            minute is left to gain from, and takes what will be over sooner.
        accumulation: pieces each batch is worked through in, to save memory.
        clip: largest norm of the gradient, for each optimizer by itself; None does not clip.
        seed: of dropout and whatever else draws random numbers in a step; the data's order has its own.
        directory: where checkpoints and `metrics.jsonl` go; None keeps nothing.
        checkpoint_every: epochs between checkpoints; the end of a loop always makes one. None makes one
            after each epoch, but for those that would have saving take more than 2 % of the time.
        save_every: interval between checkpoints within an epoch; None makes none there.
        skip_bad_steps: how many steps whose loss or gradient is not finite are passed over. With it an
            accelerator is waited for after every step.
        sharding: what several processes have in shares, with gradients and the optimizer's state: the
            "student", "both", which is the teachers as well, or "none". One process shards nothing.
        trackers: names of accelerate's trackers ("tensorboard", "wandb", ...), writing under `directory`.
        display: whether to show progress.

    Attributes:
        asked: the settings that "auto" may stand for, by name, as they were given.
        choices: how the networks are computed; the first batch of a loop settles what "auto" leaves open.
        sharder: has the student in shares; None where nothing is sharded.
        main: whether this process writes.
        records: what is written to `directory`.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        precision: Precision | Literal["auto"] = "auto",
        memory_format: MemoryFormat | Literal["auto"] = "auto",
        compile: bool | Literal["auto"] = False,
        accumulation: int = 1,
        clip: float | None = None,
        seed: int = 0,
        directory: Path | None = None,
        checkpoint_every: int | None = 1,
        save_every: Interval | None = None,
        skip_bad_steps: int = 0,
        sharding: Sharding = "none",
        trackers: Sequence[str] = (),
        display: bool = True,
    ) -> None:
        check_trackers(trackers, directory)
        check_unsharded()
        # accelerate keeps its precision and its device in one place for the whole process, so two trainers
        # could not differ: autocast and the choice of the CPU are the trainer's own. The accumulation is
        # kept there as well, and a caller's accelerator keeps the one it has.
        accumulation_there = GradientState().plugin_kwargs
        with ended_at_exit():
            self.accelerator = Accelerator(
                cpu=launched_on_cpu(),
                log_with=list(trackers) or None,
                project_dir=None if directory is None else str(directory / "trackers"),
                kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            )
        GradientState().plugin_kwargs = accumulation_there
        if directory is not None:
            check_world(self.accelerator.num_processes)
        self.accelerator.native_amp, self.accelerator.scaler = False, None
        self.device = device_for(device, self.accelerator.device, self.accelerator.num_processes)
        self.asked: dict[str, Any] = {
            "precision": precision,
            "memory_format": memory_format,
            "compile": compile,
        }
        self.sharder: Sharder | None = None
        if sharding != "none":
            from limbeck.training import sharding as shards  # torch's DTensor takes seconds to import

            self.sharder = shards.Sharder(sharding, self.accelerator, self.device)
            self.asked = self.sharder.settled(self.asked)
        if compile is True:
            check_compiler(self.device)
        self.choices = Choices(resolve_precision(precision, self.device))
        self.accumulation, self.clip, self.seed = accumulation, clip, seed
        self.directory = directory
        self.checkpoint_every, self.save_every = checkpoint_every, save_every
        self.skip_bad_steps = skip_bad_steps
        self.main: bool = self.accelerator.is_main_process
        self.display = Display(enabled=display and self.main)
        self.records = Records(directory, main=self.main, note=self.display.note)
        self._trackers = tuple(trackers)

    def check(self, root: nn.Module) -> None:
        """Refuses what cannot be sharded, if it is to be.

        Raises:
            LimbeckError: naming it.
        """
        if self.sharder is not None:
            self.sharder.check(root)

    @property
    def precision(self) -> Precision:
        """In which the networks run, "auto" being resolved."""
        return self.choices.precision

    @property
    def history(self) -> History:
        """The lines of `metrics.jsonl`."""
        return self.records.history

    def smallest_batch(self, module: nn.Module) -> int:
        """Samples that a batch must have: where batch norm trains, two for each piece in each process."""
        norms = any(isinstance(part, BatchNorm) for part in module.modules())
        return 2 * self.accumulation * self.accelerator.num_processes if norms else 1

    def fit(self, root: nn.Module, loops: Iterable[Loop], *, resume: bool = False) -> None:
        """Runs the loops.

        Args:
            root: the module whose state is everything that training changes.
            loops: what to run, in order.
            resume: go on from the checkpoint in `directory`, if there is one.
        SIGINT and SIGTERM have it save after the step that is being done and raise; a second one ends the
        process at once. What is sharded is copies of the networks, which stay where they are; the student
        gets its weights at the end.

        Raises:
            LimbeckError: for a checkpoint that is damaged or of another module, and when another process
                has ended.
            DivergenceError: when a loss turns NaN or infinite.
            Interrupted: for SIGINT, a KeyboardInterrupt.
            Terminated: for SIGTERM, a SystemExit.
        """
        self.check(root)
        with nullcontext() if self.sharder is None else self.sharder.sharded(root):
            self._fit(root, loops, resume=resume)

    def _fit(self, root: nn.Module, loops: Iterable[Loop], *, resume: bool) -> None:
        root.to(self.device)
        self.records.newest = None
        state = self.records.read() if resume else None
        if state:
            with self.records.of_this_module():
                self.load(root, state["root"])
                taken = Choices(**state["choices"])
            self.choices = (
                taken if self.asked["precision"] == "auto" else replace(taken, precision=self.precision)
            )
        self.records.rewind(state["lines"] if state else 0)
        with stoppable() as stopping, self.display, writing_told(self.display.note):
            stopping.patient, stopping.saved = True, self.records.saved
            if self._trackers and self.directory is not None:
                self.records.write(
                    partial(begin, self.accelerator, self.directory / "trackers", self._trackers)
                )
            try:
                with self._together():
                    for note in self._notes():
                        self.display.note(note)
                    Fitting(self, root, stopping, state).run(loops)
            finally:  # not end_training(), which would also end a process group of the caller's
                stopping.patient = False
                for tracker in self.accelerator.trackers:
                    self.records.write(tracker.finish)

    def load(self, root: nn.Module, state: Mapping[str, Any]) -> None:
        """Has a module take a state, in shares where it is sharded."""
        root.load_state_dict(state if self.sharder is None else self.sharder.spread(state, root))

    def _notes(self) -> Iterator[str]:
        """What is said before the first loop."""
        if (note := half_launched(self.accelerator.num_processes)) is not None:
            yield note
        if self.sharder is not None:
            yield self.sharder.note

    def _together(self) -> AbstractContextManager[None]:
        """A context in which it is said if another process does not answer any more, and what is saved."""
        alone = self.accelerator.num_processes == 1
        return nullcontext() if alone else answering(lambda: self.records.saved)
