"""The one loop. It minimizes what a module returns and knows nothing of distillation."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import GradientState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.features import BatchNorm
from limbeck.outputs import Batch, Progress
from limbeck.seeds import seed_for
from limbeck.training import checkpoints
from limbeck.training.choices import Choices, MemoryFormat, Precision, resolve_precision
from limbeck.training.display import Display
from limbeck.training.guard import Guard
from limbeck.training.history import History
from limbeck.training.loop import Loop, as_batch
from limbeck.training.means import Means
from limbeck.training.step import Step
from limbeck.training.trackers import check_trackers
from limbeck.training.trials import Trials, check_compiler
from limbeck.training.world import check_world, launched_on_cpu


class Trainer:
    """Runs loops one after the other: phases first, then the training.

    Args:
        device: "auto" takes the accelerator there is; "cpu" none. Its own name, "cuda", insists on it.
        precision: "bf16" runs the networks under bfloat16 autocast; losses are float32 all the same. "auto"
            is "bf16" where the processor multiplies matrices in it (CUDA, AMX, AVX512-BF16), or else "fp32".
        memory_format: of images. "auto" gives them to convolutional networks channels-last if they can take
            that; "contiguous" leaves them as they are.
        compile: whether a loop that can be compiled is; "auto" times both ways on its first batch, where a
            minute is left to gain from, and takes what will be over sooner.
        accumulation: pieces each batch is worked through in, to save memory.
        clip: largest norm of the gradient, for each optimizer by itself; None does not clip.
        seed: of dropout and whatever else draws random numbers in a step; the data's order has its own.
        directory: where checkpoints and `metrics.jsonl` go; None keeps nothing.
        checkpoint_every: epochs between checkpoints; the end of a loop always makes one.
        trackers: names of accelerate's trackers ("tensorboard", "wandb", ...), writing under `directory`.
        display: whether to show progress.
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
        checkpoint_every: int = 1,
        trackers: Sequence[str] = (),
        display: bool = True,
    ) -> None:
        check_trackers(trackers, directory)
        # accelerate keeps its precision and its device in one place for the whole process, so two trainers
        # could not differ: autocast and the choice of the CPU are the trainer's own. The accumulation is
        # kept there as well, and a caller's accelerator keeps the one it has.
        accumulation_there = GradientState().plugin_kwargs
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
        found = self.accelerator.device
        if device not in ("auto", "cpu", found.type, str(found)):
            there = "cpu" if found.type == "cpu" else f"cpu and {found}"
            raise LimbeckError(f"device={device!r} cannot be had here, where there is {there}; or say auto")
        self.device: torch.device = torch.device("cpu") if device == "cpu" else found
        if self.accelerator.num_processes > 1 and self.device.type != self.accelerator.device.type:
            raise LimbeckError(
                f"the processes were launched on {self.accelerator.device.type}; for the CPU, add --cpu there"
            )
        if compile is True:
            check_compiler(self.device)
        self._asked: dict[str, Any] = {
            "precision": precision,
            "memory_format": memory_format,
            "compile": compile,
        }
        self.choices = Choices(resolve_precision(precision, self.device))
        self.accumulation, self.clip, self.seed = accumulation, clip, seed
        self.directory, self.checkpoint_every = directory, checkpoint_every
        self.main: bool = self.accelerator.is_main_process
        self.history = History(directory / "metrics.jsonl" if directory and self.main else None)
        self.display = Display(enabled=display and self.main)
        self._trackers = bool(trackers)
        self._has_checkpoint = False

    @property
    def precision(self) -> Precision:
        """In which the networks run, "auto" being resolved."""
        return self.choices.precision

    @property
    def checkpoint(self) -> Path | None:
        """The file that `fit(resume=True)` goes on from."""
        return self.directory / "checkpoints" / "last.pt" if self.directory else None

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
        Raises:
            LimbeckError: for a checkpoint that is damaged or of another module.
            DivergenceError: when a loss turns NaN or infinite.
        """
        root.to(self.device)
        state = self._read_checkpoint(root) if resume else None
        self._has_checkpoint = state is not None
        if state:
            taken = Choices(**state["choices"])
            self.choices = (
                taken if self._asked["precision"] == "auto" else replace(taken, precision=self.precision)
            )
        self.history.rewind(state["lines"] if state else 0)
        if self._trackers:
            self.accelerator.init_trackers("limbeck")
        try:
            with self.display:
                for number, loop in enumerate(loops):
                    if state and number < state["loop"]:
                        continue
                    started = state if state and number == state["loop"] and state["optimizer"] else None
                    self._run(root, number, loop, started)
        finally:  # not end_training(), which would also end a process group of the caller's
            for tracker in self.accelerator.trackers:
                tracker.finish()

    def _read_checkpoint(self, root: nn.Module) -> dict[str, Any] | None:
        if not self.checkpoint or not self.checkpoint.exists():
            return None
        state = checkpoints.load(self.checkpoint)
        try:
            root.load_state_dict(state["root"])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise LimbeckError(
                f"checkpoint {str(self.checkpoint)!r} is of another module: {reason}"
            ) from None
        return state

    def _run(self, root: nn.Module, number: int, loop: Loop, state: dict[str, Any] | None) -> None:
        if state is None and self._recall(loop):
            self._save(root, loop=number + 1, optimizer=None)
            return
        steps = _length(loop.batches(0))
        best: dict[str, Any] | None = None
        with loop.open() as (module, optimizer), ExitStack() as compiled:
            schedule = loop.schedule(optimizer, steps, loop.epochs)
            first = 0
            if state:
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
                first, best = state["epoch"], state["best"]
            taken = [name for name, choice in self._asked.items() if state and choice == "auto"]
            left = (loop.epochs - first) * steps
            step = Step(
                self.accelerator,
                module,
                optimizer,
                accumulation=self.accumulation,
                clip=self.clip,
                rows=loop.rows,
                answered=loop.answered,
                settle=_Choosing(self, loop, module, taken, left, compiled),
            )
            self.display.begin(loop.name, first, loop.epochs, steps, loop.metric)
            for epoch in range(first, loop.epochs):
                line = self._epoch(loop, epoch, steps, step, schedule)
                line |= {name: self._sum(count) for name, count in loop.counts().items()}
                if (figures := loop.validate()) is not None:
                    line["validation"] = dict(figures)
                    best = _best(root, loop, figures, best)
                self.history.add(line)
                self._track(line, number)
                self.display.epoch(line)
                if self.main:
                    loop.keep(epoch + 1)
                if epoch + 1 < loop.epochs and (epoch + 1) % self.checkpoint_every == 0:
                    self._save(
                        root,
                        loop=number,
                        epoch=epoch + 1,
                        best=best,
                        optimizer=optimizer.state_dict(),
                        schedule=schedule.state_dict(),
                    )
        step.close()
        if best:
            root.load_state_dict(best["root"])
        loop.trained(self._setting, self.history.last)
        loop.finish()
        self._save(root, loop=number + 1, optimizer=None)

    def _recall(self, loop: Loop) -> bool:
        """Puts an earlier result of the loop in place, if every process has found one."""
        found = loop.recall(self._setting)
        have = torch.tensor(int(found is not None), device=self.device)
        if found is None or int(self.accelerator.reduce(have, "sum")) < self.accelerator.num_processes:
            return False
        line, restore = found
        restore()
        self.history.add({**line, "phase": loop.name, "cached": True})
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

    def _epoch(
        self,
        loop: Loop,
        epoch: int,
        steps: int,
        step: Step,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> dict[str, Any]:
        guard = Guard(self.device)
        means = Means()
        begun = time.perf_counter()
        rate = step.optimizer.param_groups[0]["lr"]
        step.module.train()
        check_every = 1 if self.device.type == "cpu" else 50
        # Every epoch has random numbers of its own, whatever ran before it: a resumed run draws the same.
        devices = [self.device] if self.device.type == "cuda" else []
        seed = self.seed if loop.seed is None else loop.seed
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed_for(seed, loop.name, epoch, self.accelerator.process_index))
            for position, item in enumerate(loop.batches(epoch)):
                done = epoch * steps + position
                progress = Progress(done, epoch, done / (steps * loop.epochs))
                batch = replace(as_batch(item).to(self.device), progress=progress)
                step(done + 1, batch, guard, means)
                if (position + 1) % check_every == 0:
                    guard.check(loop.name, self._last_good())
                    self.display.step(position + 1)
                schedule.step()
            guard.check(loop.name, self._last_good())
            self.display.step(steps)
        terms = means.read(self.accelerator)
        return {
            "phase": loop.name,
            "epoch": epoch + 1,
            "step": (epoch + 1) * steps,
            "seconds": round(time.perf_counter() - begun, 3),
            "lr": rate,
            "terms": terms,
        }

    def _save(self, root: nn.Module, **state: Any) -> None:
        if self.checkpoint and self.main:
            checkpoints.save(
                self.checkpoint,
                {
                    "root": root.state_dict(),
                    "lines": self.history.lines,
                    "choices": asdict(self.choices),
                    **state,
                },
            )
            self._has_checkpoint = True
        self.accelerator.wait_for_everyone()

    def _last_good(self) -> str:
        if self._has_checkpoint:
            return f"The last good checkpoint is {self.checkpoint}."
        return "No checkpoint had been written yet."

    def _track(self, line: Mapping[str, Any], number: int) -> None:
        name = line["phase"]
        figures = {f"{name}/{term}": value for term, value in line["terms"].items()}
        figures |= {f"{name}/validation/{term}": value for term, value in line.get("validation", {}).items()}
        self.accelerator.log({**figures, f"{name}/lr": line["lr"]}, step=line["step"])


@dataclass(frozen=True)
class _Choosing:
    """Makes the choices of a loop that its first batch decides.

    Attributes:
        trainer: the trainer, whose choices they become.
        loop: the loop.
        module: its module.
        taken: the settings that have the checkpoint's choice, where "auto" was asked.
        left: steps to go.
        compiled: what is compiled stays so until this closes.
    """

    trainer: Trainer
    loop: Loop
    module: nn.Module
    taken: Collection[str]
    left: int
    compiled: ExitStack

    def __call__(self, batch: Batch, pieces: int) -> Choices:
        """The choices.

        Args:
            batch: the first piece of a step.
            pieces: the number of pieces in a step.
        """
        trainer = self.trainer
        asked = trainer._asked | {name: getattr(trainer.choices, name) for name in self.taken}
        trials = Trials(self.module, batch, trainer.display.note, trainer._average, self.taken)
        choices = trials.memory_format(Choices(trainer.precision), asked["memory_format"])
        if (compiled := self.loop.compiled()) is not None:
            choices = trials.compile(choices, asked["compile"], compiled, self.compiled, self.left * pieces)
        trainer.choices = choices
        self.loop.counts()  # what was only tried counts as nothing, with or without a checkpoint
        return choices


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


def _length(batches: Iterable[object]) -> int:
    try:
        steps = len(batches)  # type: ignore[arg-type]
    except TypeError:
        raise LimbeckError(
            "a loader must have a length; make a generator a list, or load a map-style data set"
        ) from None
    if steps == 0:
        raise LimbeckError("the loader is empty; there is nothing to train on")
    return steps
