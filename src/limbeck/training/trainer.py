"""The one loop. It minimizes what a module returns and knows nothing of distillation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import GradientState
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from accelerate.utils.modeling import get_grad_scaler
from torch import nn

from limbeck.features import BatchNorm
from limbeck.intervals import Interval
from limbeck.outputs import Batch
from limbeck.stopping import Interrupted, Terminated, stop, stoppable
from limbeck.training.averaging import Averaging, averaged
from limbeck.training.choices import Choices, MemoryFormat, Precision, Sharding, resolve_precision
from limbeck.training.choosing import Choosing
from limbeck.training.devices import device_for
from limbeck.training.display import Display
from limbeck.training.epoch import Epoch
from limbeck.training.guard import CHECK_EVERY, DivergenceError, Guard, changed_by_steps, listed
from limbeck.training.history import History
from limbeck.training.length import Length, steps_of
from limbeck.training.loop import Loop
from limbeck.training.memory import enough_memory
from limbeck.training.records import Records
from limbeck.training.saving import SavePoints
from limbeck.training.step import Step
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

SMALLEST_SCALE = 2.0**-14
"""A scale of float16's gradients that only falls below this where each step overflows."""


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
        self._asked: dict[str, Any] = {
            "precision": precision,
            "memory_format": memory_format,
            "compile": compile,
        }
        self._sharder: Sharder | None = None
        if sharding != "none":
            from limbeck.training import sharding as shards  # torch's DTensor takes seconds to import

            self._sharder = shards.Sharder(sharding, self.accelerator, self.device)
            self._asked = self._sharder.settled(self._asked)
        if compile is True:
            check_compiler(self.device)
        self.choices = Choices(resolve_precision(precision, self.device))
        self.accumulation, self.clip, self.seed = accumulation, clip, seed
        self.directory = directory
        self.checkpoint_every, self.save_every = checkpoint_every, save_every
        self.skip_bad_steps, self._skipped = skip_bad_steps, 0
        self.main: bool = self.accelerator.is_main_process
        self.display = Display(enabled=display and self.main)
        self.records = Records(directory, main=self.main, note=self.display.note)
        self._trackers = tuple(trackers)

    def check(self, root: nn.Module) -> None:
        """Refuses what cannot be sharded, if it is to be.

        Raises:
            LimbeckError: naming it.
        """
        if self._sharder is not None:
            self._sharder.check(root)

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
        with nullcontext() if self._sharder is None else self._sharder.sharded(root):
            self._fit(root, loops, resume=resume)

    def _fit(self, root: nn.Module, loops: Iterable[Loop], *, resume: bool) -> None:
        root.to(self.device)
        self.records.newest = None
        state = self.records.read() if resume else None
        if state:
            with self.records.of_this_module():
                self._load(root, state["root"])
                taken = Choices(**state["choices"])
            self.choices = (
                taken if self._asked["precision"] == "auto" else replace(taken, precision=self.precision)
            )
        self._skipped = state.get("skipped", 0) if state else 0
        self.records.rewind(state["lines"] if state else 0)
        with stoppable() as stopping, self.display, writing_told(self.display.note):
            self._stopping = stopping
            self._points = SavePoints(
                self.save_every, self.checkpoint_every, self.accelerator, self.device, stopping
            )
            stopping.patient, stopping.saved = True, self.records.saved
            if self._trackers and self.directory is not None:
                self.records.write(
                    partial(begin, self.accelerator, self.directory / "trackers", self._trackers)
                )
            try:
                with self._together():
                    self._run_all(root, loops, state)
            finally:  # not end_training(), which would also end a process group of the caller's
                stopping.patient = False
                for tracker in self.accelerator.trackers:
                    self.records.write(tracker.finish)

    def _run_all(self, root: nn.Module, loops: Iterable[Loop], state: dict[str, Any] | None) -> None:
        """Runs the loops, from where a checkpoint broke off."""
        if (note := half_launched(self.accelerator.num_processes)) is not None:
            self.display.note(note)
        if self._sharder is not None:
            self.display.note(self._sharder.note)
        for number, loop in enumerate(loops):
            if state and number < state["loop"]:
                continue
            started = state if state and number == state["loop"] and state["optimizer"] else None
            self._run(root, number, loop, started)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """A context in which it is said if another process does not answer any more, and what is saved."""
        alone = self.accelerator.num_processes == 1
        with nullcontext() if alone else answering(lambda: self.records.saved):
            yield

    def _run(self, root: nn.Module, number: int, loop: Loop, state: dict[str, Any] | None) -> None:
        with self._impatient():
            recalled = state is None and self._recall(loop)
        if recalled:
            self._save(root, loop=number + 1, optimizer=None)
            return
        length = Length.of(steps_of(loop.batches(0)), loop.epochs, loop.max_steps)
        best: dict[str, Any] | None = None
        with loop.open() as (module, optimizer), ExitStack() as compiled:
            schedule = loop.schedule(optimizer, length.per_epoch, length.in_epochs)
            averaging = loop.averaging()
            scaler = self._scaler()
            moving: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule}
            further = {"averaging": averaging, "patience": loop.patience, "scaler": scaler}
            moving |= {name: part for name, part in further.items() if part is not None}
            shares = None if self._sharder is None else self._sharder.shares(module, optimizer)
            if self._sharder is not None:
                moving |= self._sharder.kept(shares, averaging)
            first, within = 0, None
            if state:
                with self.records.of_this_module():
                    for name, part in moving.items():
                        part.load_state_dict(state[name])
                    first, best, within = state["epoch"], state["best"], state.get("within")
            taken = [name for name, choice in self._asked.items() if state and choice == "auto"]
            settle = Choosing(
                self._asked | {name: getattr(self.choices, name) for name in taken},
                self.precision,
                taken,
                loop,
                module,
                length.total - first * length.per_epoch,
                compiled,
                self.display.note,
                self._average,
                partial(setattr, self, "choices"),
            )
            step = Step(
                self.accelerator,
                module,
                optimizer,
                accumulation=self.accumulation,
                clip=self.clip,
                collected=loop.collected,
                rows=loop.rows,
                answered=loop.answered,
                settle=settle,
                scaler=scaler,
                shares=shares,
            )

            def save(epoch: int, within: dict[str, Any] | None = None) -> None:
                state = {name: part.state_dict() for name, part in moving.items()}
                self._save(root, loop=number, epoch=epoch, within=within, best=best, **state)

            self.display.begin(loop.name, first, length, loop.metric)
            for done in range(first, length.epochs):
                seed = self.seed if loop.seed is None else loop.seed
                rate = optimizer.param_groups[0]["lr"]
                epoch = Epoch(loop, done, length, seed, rate, self.accelerator, self.device, within)
                within = None
                self._train(epoch, step, schedule, averaging, partial(save, done))
                if scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
                    raise DivergenceError(
                        f"the gradients of {loop.name} overflow float16 at any scale; use precision=bf16 or "
                        f"fp32. {self.records.last_good}"
                    )
                line = epoch.line()
                line |= {name: self._sum(count) for name, count in epoch.counts().items()}
                last, shipped = done + 1 == length.epochs, partial(averaged, averaging)
                if (figures := self._validate(epoch, shipped, partial(save, done))) is not None:
                    line["validation"] = dict(figures)
                    with shipped():
                        best = _best(root, loop, figures, best)
                    if not last and (why := self._over(loop, figures, done + 1)) is not None:
                        last, line["stopped"] = True, why
                if self._skipped:
                    line["skipped_steps"] = self._skipped
                self.records.write(partial(self.history.add, line))
                self.records.write(partial(self._track, line))
                self.display.epoch(line)
                if "stopped" in line:
                    self.display.note(f"{loop.name} {line['stopped']}")
                if self.main:
                    with shipped():
                        self.records.write(partial(loop.keep, done + 1, last))
                    loop.tell(done + 1)
                if last:
                    break
                due = self._points.after_epoch(done + 1)
                if due.save or due.signal:
                    save(done + 1)
                self._stop_if(due.signal, f"epoch {done + 1} of {loop.name}")
        step.close()
        if averaging is not None:
            averaging.settle()
        if best:
            self._load(root, best["root"])
        with self._impatient():
            loop.trained(self._setting, self.history.last)
            loop.finish()
        self._save(root, loop=number + 1, optimizer=None)
        self._stop_if(self._points.signal(), f"the end of {loop.name}")

    def _load(self, root: nn.Module, state: Mapping[str, Any]) -> None:
        """Has the module take a state."""
        root.load_state_dict(state if self._sharder is None else self._sharder.spread(state, root))

    def _scaler(self) -> torch.amp.GradScaler | None:
        """What keeps small gradients of float16 from becoming zero; None for other precisions."""
        return get_grad_scaler() if self.precision == "fp16" else None

    def _over(self, loop: Loop, figures: Mapping[str, float], epoch: int) -> str | None:
        """Why the loop ends early after so many epochs, in which all processes agree; None if it goes on."""
        if loop.patience is None or loop.metric is None:
            return None
        why: str | None
        (why,) = broadcast_object_list([loop.patience.over(loop.metric, figures, epoch)])
        return why

    def _recall(self, loop: Loop) -> bool:
        """Puts an earlier result of the loop in place, if every process has found one."""
        found = loop.recall(self._setting)
        have = self._sum(int(found is not None))
        if found is None or have < self.accelerator.num_processes:
            return False
        line, restore = found
        restore()
        self.records.write(partial(self.history.add, {**line, "phase": loop.name, "cached": True}))
        self.display.note(f"{loop.name}: reused from the cache")
        loop.finish()
        return True

    @property
    def _setting(self) -> str:
        """What of the trainer's own settings decides how a loop ends."""
        return (
            f"{self.precision} {self._asked['memory_format']} {self.accumulation} {self.clip} "
            f"{self.device.type} {self.accelerator.num_processes} {torch.__version__}"
        )

    def _sum(self, number: int) -> int:
        """The sum of a number that each process has."""
        return int(self.accelerator.reduce(torch.tensor(number, device=self.device), "sum"))

    def _average(self, number: float) -> float:
        """Of a number that each process has."""
        return float(self.accelerator.reduce(torch.tensor(number, device=self.device), "mean"))

    def _train(
        self,
        epoch: Epoch,
        step: Step,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        averaging: Averaging | None,
        save: Callable[[dict[str, Any]], None],
    ) -> None:
        """Does the steps of an epoch that are left."""
        loop, first = epoch.loop, epoch.first
        check_every = 1 if self.device.type == "cpu" or self.skip_bad_steps else CHECK_EVERY
        every_buffer = bool(self.skip_bad_steps)
        keeps = changed_by_steps(step.module, every_buffer=every_buffer) if check_every == 1 else ()
        guard = Guard(self.device, keeps, self.accelerator)
        step.module.train()
        with epoch.random():
            for batch in epoch.batches():
                number = first + epoch.position + 1
                guard.begin(number, batch)
                # The first step may compile for minutes.
                where = f"at step {number} of {loop.name}, on a batch of {len(batch)} samples"
                with (
                    nullcontext() if step.settled else self._impatient(),
                    enough_memory(where, partial(self._smaller_pieces, batch), self.records),
                ):
                    step(number, batch, guard, epoch.means)
                epoch.position += 1
                skipped = False
                if epoch.position % check_every == 0:
                    skipped = self._check(guard, epoch)
                    self.display.step(epoch.position)
                if averaging is not None and not skipped:
                    averaging.update()
                schedule.step()
                due = self._points.after_step(number)
                if due is not None and (due.signal or epoch.position < epoch.steps):
                    self._check(guard, epoch)
                    save(epoch.state())
                    self._stop_if(due.signal, f"step {number} of {loop.name}")
            self._check(guard, epoch)
            self.display.step(epoch.steps)

    def _smaller_pieces(self, batch: Batch) -> str:
        """What helps where a batch is too large, and which samples it has."""
        samples = [] if batch.index is None else batch.index.tolist()
        return (
            f"training.accumulation={2 * self.accumulation} works through it in smaller pieces. "
            f"{listed('Its samples', samples)}"
        )

    def _check(self, guard: Guard, epoch: Epoch) -> bool:
        """Raises if a step was bad, or passes over it; tells whether it has passed over one."""
        try:
            guard.check(epoch.loop.name, self.records.last_good)
        except DivergenceError as error:
            if self._skipped >= self.skip_bad_steps:
                raise
            self._skipped += 1
            guard.pass_over()
            epoch.means.drop()
            what = str(error).partition(";")[0]
            self.display.note(f"{what}; that step is skipped, {self._skipped} of {self.skip_bad_steps}")
            return True
        return False

    def _validate(
        self,
        epoch: Epoch,
        shipped: Callable[[], AbstractContextManager[None]],
        save: Callable[[dict[str, Any]], None],
    ) -> Mapping[str, float] | None:
        """The loop's figures, of what would be shipped now; a signal does not wait for them."""
        try:
            where = f"in the validation after epoch {epoch.number + 1} of {epoch.loop.name}"
            with self._impatient(), shipped(), enough_memory(where, lambda: "free some. ", self.records):
                figures = epoch.loop.validate()
                if self._sharder is not None:
                    self._sharder.release()
                return figures
        except (Interrupted, Terminated):
            save(epoch.state())
            last = epoch.first + epoch.steps
            self._stop_if(self._stopping.asked, f"step {last} of {epoch.loop.name}")
            raise

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        """A context of which nothing is to be saved, in which a signal need not wait for anything.

        Several processes wait for each other all the same.
        """
        self._stopping.patient = self.accelerator.num_processes > 1
        try:
            yield
        finally:
            self._stopping.patient = True

    def _stop_if(self, signal: int, done: str) -> None:
        """Stops for a signal, 0 being none; `done` is what has been saved."""
        if signal:
            raise stop(signal, f"{done} is done, and {self._stopping.saved}")

    def _save(self, root: nn.Module, **state: Any) -> None:
        seconds, written, checkpoint = 0.0, False, self.records.checkpoint
        if checkpoint and (self.main or self._sharder is not None):
            known = {"choices": asdict(self.choices), "skipped": self._skipped}
            state = {**known, **state, "root": root.state_dict()}
            state = state if self._sharder is None else self._sharder.gathered(state)
        if checkpoint and self.main:
            begun = time.monotonic()
            written = self.records.write(partial(self.records.save, checkpoint, state))
            seconds = time.monotonic() - begun
        if self._points.saved(seconds, written):
            self.records.newest = checkpoint
            self._stopping.saved = self.records.saved

    def _track(self, line: Mapping[str, Any]) -> None:
        name = line["phase"]
        figures = {f"{name}/{term}": value for term, value in line["terms"].items()}
        figures |= {f"{name}/validation/{term}": value for term, value in line.get("validation", {}).items()}
        self.accelerator.log({**figures, f"{name}/lr": line["lr"]}, step=line["step"])


def _best(
    root: nn.Module, loop: Loop, figures: Mapping[str, float], best: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The best epoch so far by the loop's metric, with its weights; None if none are to be kept."""
    if not loop.keep_best or loop.metric is None:
        return None
    value = figures[loop.metric.name]
    if best is not None and not loop.metric.better(value, best["value"]):
        return best
    return {"value": value, "root": {name: each.clone() for name, each in root.state_dict().items()}}
