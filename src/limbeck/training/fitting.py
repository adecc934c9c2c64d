"""One call of `Trainer.fit`: loop after loop, epoch after epoch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from accelerate.utils.modeling import get_grad_scaler
from torch import nn

from limbeck.outputs import Batch
from limbeck.stopping import Interrupted, Stopping, Terminated, stop
from limbeck.training.choosing import Choosing
from limbeck.training.course import Course
from limbeck.training.epoch import Epoch
from limbeck.training.guard import CHECK_EVERY, DivergenceError, Guard, changed_by_steps, listed
from limbeck.training.length import Length, steps_of
from limbeck.training.loop import Loop
from limbeck.training.memory import enough_memory
from limbeck.training.saving import SavePoints
from limbeck.training.step import Step

if TYPE_CHECKING:
    from limbeck.training.trainer import Trainer


class Fitting:
    """What the loops of one `fit` share.

    Args:
        trainer: says how to compute, and is told what was chosen.
        root: the module whose state is everything that training changes.
        stopping: knows the signal that has come.
        state: the checkpoint to go on from; None at the beginning.
    """

    def __init__(
        self, trainer: Trainer, root: nn.Module, stopping: Stopping, state: dict[str, Any] | None
    ) -> None:
        self.trainer, self.root, self.stopping, self._state = trainer, root, stopping, state
        self.accelerator, self.device = trainer.accelerator, trainer.device
        self.records, self.display = trainer.records, trainer.display
        self._skipped = state.get("skipped", 0) if state else 0
        self._points = SavePoints(
            trainer.save_every, trainer.checkpoint_every, self.accelerator, self.device, stopping
        )

    def run(self, loops: Iterable[Loop]) -> None:
        """Runs the loops, from where the checkpoint broke off."""
        state = self._state
        for number, loop in enumerate(loops):
            if state and number < state["loop"]:
                continue
            started = state if state and number == state["loop"] and state["optimizer"] else None
            with self._impatient():
                recalled = started is None and self._recall(loop)
            if not recalled:
                self._run(number, loop, started)
            self._save(loop=number + 1, optimizer=None)
            self._stop_if(self._points.signal(), f"the end of {loop.name}")

    def _run(self, number: int, loop: Loop, state: dict[str, Any] | None) -> None:
        """Runs a loop, from its beginning or from where a checkpoint broke it off."""
        length = Length.of(steps_of(loop.batches(0)), loop.epochs, loop.max_steps)
        with loop.open() as (module, optimizer), ExitStack() as compiled:
            scaler = get_grad_scaler() if self.trainer.precision == "fp16" else None
            course = Course(number, loop, length, module, optimizer, scaler, self.trainer.sharder)
            if state:
                with self.records.of_this_module():
                    course.load(state)
            step = self._step(course, compiled, resumed=state is not None)
            self.display.begin(loop.name, course.done, length, loop.metric)
            going = course.done < length.epochs
            while going:
                going = self._epoch(course, step)
        step.close()
        if course.averaging is not None:
            course.averaging.settle()
        if course.best:
            self.trainer.load(self.root, course.best["root"])
        with self._impatient():
            loop.trained(self._setting, self.records.history.last)
            loop.finish()

    def _step(self, course: Course, compiled: ExitStack, *, resumed: bool) -> Step:
        """A step of a loop; its first batch chooses how to compute, unless a checkpoint has the choice."""
        trainer, loop, length = self.trainer, course.loop, course.length
        taken = [name for name, choice in trainer.asked.items() if resumed and choice == "auto"]
        settle = Choosing(
            trainer.asked | {name: getattr(trainer.choices, name) for name in taken},
            trainer.precision,
            taken,
            loop,
            course.module,
            length.total - course.done * length.per_epoch,
            compiled,
            self.display.note,
            self._average,
            partial(setattr, trainer, "choices"),
        )
        return Step(
            self.accelerator,
            course.module,
            course.optimizer,
            accumulation=trainer.accumulation,
            clip=trainer.clip,
            collected=loop.collected,
            rows=loop.rows,
            answered=loop.answered,
            settle=settle,
            scaler=course.scaler,
            shares=course.shares,
        )

    def _epoch(self, course: Course, step: Step) -> bool:
        """Runs the epoch that comes next, and tells whether another follows."""
        loop, length = course.loop, course.length
        seed = self.trainer.seed if loop.seed is None else loop.seed
        rate = course.optimizer.param_groups[0]["lr"]
        epoch = Epoch(loop, course.done, length, seed, rate, self.accelerator, self.device, course.within)
        course.within = None
        self._train(course, epoch, step)
        if course.overflows:
            raise DivergenceError(
                f"the gradients of {loop.name} overflow float16 at any scale; use precision=bf16 or fp32. "
                f"{self.records.last_good}"
            )
        line = epoch.line()
        line |= {name: self._sum(count) for name, count in epoch.counts().items()}
        figures = self._validate(course, epoch)
        course.done += 1
        last = course.done == length.epochs
        if figures is not None:
            line["validation"] = dict(figures)
            with course.shipped():
                course.choose(self.root, figures)
            if not last and (why := self._over(loop, figures, course.done)) is not None:
                last, line["stopped"] = True, why
        if self._skipped:
            line["skipped_steps"] = self._skipped
        self._tell(course, line, last=last)
        if last:
            return False
        due = self._points.after_epoch(course.done)
        if due.save or due.signal:
            self._save(**course.state())
        self._stop_if(due.signal, f"epoch {course.done} of {loop.name}")
        return True

    def _tell(self, course: Course, line: dict[str, Any], *, last: bool) -> None:
        """Says everywhere that an epoch is over."""
        loop = course.loop
        self.records.write(partial(self.records.history.add, line))
        self.records.write(partial(self._track, line))
        self.display.epoch(line)
        if "stopped" in line:
            self.display.note(f"{loop.name} {line['stopped']}")
        if self.trainer.main:
            with course.shipped():
                self.records.write(partial(loop.keep, course.done, last))
            loop.tell(course.done)

    def _train(self, course: Course, epoch: Epoch, step: Step) -> None:
        """Does the steps of an epoch that are left."""
        loop, skips = course.loop, self.trainer.skip_bad_steps
        check_every = 1 if self.device.type == "cpu" or skips else CHECK_EVERY
        keeps = changed_by_steps(step.module, every_buffer=bool(skips)) if check_every == 1 else ()
        guard = Guard(self.device, keeps, self.accelerator)
        step.module.train()
        with epoch.random():
            for batch in epoch.batches():
                number = epoch.first + epoch.position + 1
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
                if course.averaging is not None and not skipped:
                    course.averaging.update()
                course.schedule.step()
                due = self._points.after_step(number)
                if due is not None and (due.signal or epoch.position < epoch.steps):
                    self._check(guard, epoch)
                    self._save(**course.state(epoch.state()))
                    self._stop_if(due.signal, f"step {number} of {loop.name}")
            self._check(guard, epoch)
            self.display.step(epoch.steps)

    def _smaller_pieces(self, batch: Batch) -> str:
        """What helps where a batch is too large, and which samples it has."""
        samples = [] if batch.index is None else batch.index.tolist()
        return (
            f"training.accumulation={2 * self.trainer.accumulation} works through it in smaller pieces. "
            f"{listed('Its samples', samples)}"
        )

    def _check(self, guard: Guard, epoch: Epoch) -> bool:
        """Raises if a step was bad, or passes over it; tells whether it has passed over one."""
        allowed = self.trainer.skip_bad_steps
        try:
            guard.check(epoch.loop.name, self.records.last_good)
        except DivergenceError as error:
            if self._skipped >= allowed:
                raise
            self._skipped += 1
            guard.pass_over()
            epoch.means.drop()
            what = str(error).partition(";")[0]
            self.display.note(f"{what}; that step is skipped, {self._skipped} of {allowed}")
            return True
        return False

    def _validate(self, course: Course, epoch: Epoch) -> Mapping[str, float] | None:
        """The loop's figures, of what would be shipped now; a signal does not wait for them."""
        try:
            where = f"in the validation after epoch {epoch.number + 1} of {epoch.loop.name}"
            with (
                self._impatient(),
                course.shipped(),
                enough_memory(where, lambda: "free some. ", self.records),
            ):
                figures = epoch.loop.validate()
                if self.trainer.sharder is not None:
                    self.trainer.sharder.release()
                return figures
        except (Interrupted, Terminated):
            self._save(**course.state(epoch.state()))
            last = epoch.first + epoch.steps
            self._stop_if(self.stopping.asked, f"step {last} of {epoch.loop.name}")
            raise

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
        self.records.write(partial(self.records.history.add, {**line, "phase": loop.name, "cached": True}))
        self.display.note(f"{loop.name}: reused from the cache")
        loop.finish()
        return True

    @property
    def _setting(self) -> str:
        """What of the trainer's own settings decides how a loop ends."""
        trainer = self.trainer
        return (
            f"{trainer.precision} {trainer.asked['memory_format']} {trainer.accumulation} {trainer.clip} "
            f"{self.device.type} {self.accelerator.num_processes} {torch.__version__}"
        )

    def _sum(self, number: int) -> int:
        """The sum of a number that each process has."""
        return int(self.accelerator.reduce(torch.tensor(number, device=self.device), "sum"))

    def _average(self, number: float) -> float:
        """Of a number that each process has."""
        return float(self.accelerator.reduce(torch.tensor(number, device=self.device), "mean"))

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        """A context of which nothing is to be saved, in which a signal need not wait for anything.

        Several processes wait for each other all the same.
        """
        self.stopping.patient = self.accelerator.num_processes > 1
        try:
            yield
        finally:
            self.stopping.patient = True

    def _stop_if(self, signal: int, done: str) -> None:
        """Stops for a signal, 0 being none; `done` is what has been saved."""
        if signal:
            raise stop(signal, f"{done} is done, and {self.stopping.saved}")

    def _save(self, **state: Any) -> None:
        """Writes a checkpoint of the root's state and what is given, where any are kept."""
        sharder, checkpoint = self.trainer.sharder, self.records.checkpoint
        seconds, written = 0.0, False
        if checkpoint and (self.trainer.main or sharder is not None):
            known = {"choices": asdict(self.trainer.choices), "skipped": self._skipped}
            state = {**known, **state, "root": self.root.state_dict()}
            state = state if sharder is None else sharder.gathered(state)
        if checkpoint and self.trainer.main:
            begun = time.monotonic()
            written = self.records.write(partial(self.records.save, checkpoint, state))
            seconds = time.monotonic() - begun
        if self._points.saved(seconds, written):
            self.records.newest = checkpoint
            self.stopping.saved = self.records.saved

    def _track(self, line: Mapping[str, Any]) -> None:
        """Tells the trackers of an epoch."""
        name = line["phase"]
        figures = {f"{name}/{term}": value for term, value in line["terms"].items()}
        figures |= {f"{name}/validation/{term}": value for term, value in line.get("validation", {}).items()}
        self.accelerator.log({**figures, f"{name}/lr": line["lr"]}, step=line["step"])
