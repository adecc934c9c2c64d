"""The one loop. It minimises what a module returns and knows nothing of distillation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.methods.terms import Losses
from limbeck.optimisation import parts_of
from limbeck.outputs import Batch, Progress
from limbeck.seeds import seed_for
from limbeck.training import checkpoints
from limbeck.training.display import Display
from limbeck.training.guard import Guard, gradients, parameters, step_unless
from limbeck.training.history import History
from limbeck.training.stage import Stage, as_batch

Precision = Literal["fp32", "bf16"]


class Trainer:
    """Runs stages one after the other: phases first, then the training.

    Args:
        device: "auto" takes the accelerator there is; "cpu" none.
        precision: "bf16" runs the networks under bfloat16 autocast; losses are float32 all the same.
        accumulation: pieces each batch is worked through in, to save memory.
        clip: largest norm of the gradient, for each optimiser by itself; None does not clip.
        seed: of dropout and whatever else draws random numbers in a step; the data's order has its own.
        directory: where checkpoints and `metrics.jsonl` go; None keeps nothing.
        checkpoint_every: epochs between checkpoints; the end of a stage always makes one.
        trackers: names of accelerate's trackers ("tensorboard", "wandb", ...), writing under `directory`.
        display: whether to show progress.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        accumulation: int = 1,
        clip: float | None = None,
        seed: int = 0,
        directory: Path | None = None,
        checkpoint_every: int = 1,
        trackers: Sequence[str] = (),
        display: bool = True,
    ) -> None:
        # accelerate keeps its precision in one place for the whole process, so two trainers could not differ:
        # autocast is the trainer's own.
        self.accelerator = Accelerator(
            cpu=device == "cpu",
            log_with=list(trackers) or None,
            project_dir=None if directory is None else str(directory / "trackers"),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.device: torch.device = self.accelerator.device
        self.precision, self.accumulation, self.clip, self.seed = precision, accumulation, clip, seed
        self.directory, self.checkpoint_every = directory, checkpoint_every
        self.main: bool = self.accelerator.is_main_process
        self.history = History(directory / "metrics.jsonl" if directory and self.main else None)
        self.display = Display(enabled=display and self.main)
        self._trackers = bool(trackers)

    @property
    def checkpoint(self) -> Path | None:
        """The file that `fit(resume=True)` goes on from."""
        return self.directory / "checkpoints" / "last.pt" if self.directory else None

    def fit(self, root: nn.Module, stages: Iterable[Stage], *, resume: bool = False) -> None:
        """Runs the stages.

        Args:
            root: the module whose state is everything that training changes.
            stages: in order.
            resume: go on from the checkpoint in `directory`, if there is one.
        Raises:
            DivergenceError: when a loss turns NaN or infinite.
        """
        if self._trackers:
            self.accelerator.init_trackers("limbeck")
        root.to(self.device)
        state = self._resume(root) if resume else None
        with self.display:
            for number, stage in enumerate(stages):
                if state and number < state["stage"]:
                    continue
                started = state if state and number == state["stage"] and state["optimizer"] else None
                self._stage(root, number, stage, started)
        for (
            tracker
        ) in self.accelerator.trackers:  # end_training() would also end a process group of the caller's
            tracker.finish()

    def _resume(self, root: nn.Module) -> dict[str, Any] | None:
        if not self.checkpoint or not self.checkpoint.exists():
            self.history.rewind(0)
            return None
        state = checkpoints.load(self.checkpoint, self.device)
        root.load_state_dict(state["root"])
        self.history.rewind(state["lines"])
        return state

    def _stage(self, root: nn.Module, number: int, stage: Stage, state: dict[str, Any] | None) -> None:
        steps = len(_sized(stage.batches(0)))
        best: dict[str, Any] | None = None
        with stage.open() as (module, optimizer):
            schedule = stage.schedule(optimizer, steps, stage.epochs)
            first = 0
            if state:
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
                first, best = state["epoch"], state["best"]
            wrapped = self.accelerator.prepare_model(module)
            self.display.begin(stage.name, first, stage.epochs, steps)
            for epoch in range(first, stage.epochs):
                line = self._epoch(stage, epoch, steps, wrapped, optimizer, schedule)
                if stage.validate:
                    line["validation"] = dict(stage.validate())
                    if stage.keep_best and (best is None or line["validation"]["top1"] > best["top1"]):
                        weights = {name: value.clone() for name, value in root.state_dict().items()}
                        best = {"top1": line["validation"]["top1"], "root": weights}
                self.history.add(line)
                self._track(line, number)
                self.display.epoch(line)
                if epoch + 1 < stage.epochs and (epoch + 1) % self.checkpoint_every == 0:
                    self._save(
                        root,
                        stage=number,
                        epoch=epoch + 1,
                        best=best,
                        optimizer=optimizer.state_dict(),
                        schedule=schedule.state_dict(),
                    )
        self.accelerator.free_memory()
        if best:
            root.load_state_dict(best["root"])
        stage.finish()
        self._save(root, stage=number + 1, optimizer=None)

    def _epoch(
        self,
        stage: Stage,
        epoch: int,
        steps: int,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> dict[str, Any]:
        guard = Guard(self.device)
        means = _Means()
        begun = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        module.train()
        check_every = 1 if self.device.type == "cpu" else 50
        # Every epoch has random numbers of its own, whatever ran before it: a resumed run draws the same.
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed_for(self.seed, stage.name, epoch, self.accelerator.process_index))
            for position, item in enumerate(stage.batches(epoch)):
                done = epoch * steps + position
                progress = Progress(done, epoch, done / (steps * stage.epochs))
                batch = replace(as_batch(item).to(self.device), progress=progress)
                self._step(done, batch, module, optimizer, guard, means)
                schedule.step()
                if (position + 1) % check_every == 0 or position + 1 == steps:
                    guard.check(stage.name, self._last_good())
                    self.display.step(position + 1)
        terms = means.read(self.accelerator)
        return {
            "stage": stage.name,
            "epoch": epoch + 1,
            "step": (epoch + 1) * steps,
            "seconds": round(time.perf_counter() - begun, 3),
            "lr": rate,
            "terms": terms,
        }

    def _step(
        self,
        step: int,
        batch: Batch,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        guard: Guard,
        means: _Means,
    ) -> None:
        pieces = batch.split(self.accumulation) if self.accumulation > 1 else [batch]
        whole = batch.total or len(batch) * self.accelerator.num_processes
        values: Tensor | None = None
        for piece in pieces:
            # Gradients are averaged over processes, so a piece counts by its part of the mean share.
            share = len(piece) * self.accelerator.num_processes / whole
            last = piece is pieces[-1]
            with self._sync(module, last), self._autocast():
                losses: Losses = module(piece)
            with self._sync(module, last):
                self.accelerator.backward(losses.total if share == 1 else losses.total * share)
            figures = torch.stack(
                [losses.total.detach(), *(value.detach().to(losses.total) for value in losses.values())]
            )
            values = figures * share if values is None else values + figures * share
        assert values is not None
        parts = parts_of(optimizer)
        names = ["total", *losses.keys()]
        # The total is last to be named: a broken term breaks it too.
        blocked = guard.admit(
            step + 1,
            [*names[1:], "total"],
            values.roll(-1),
            [gradient for part in parts for gradient in gradients(part)],
        )
        if self.clip is not None:
            for part in parts:
                torch.nn.utils.clip_grad_norm_(parameters(part), self.clip)
        step_unless(blocked, optimizer)
        optimizer.zero_grad()
        means.add(names, values, len(batch))

    def _sync(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(module)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _save(self, root: nn.Module, **state: Any) -> None:
        if self.checkpoint and self.main:
            checkpoints.save(
                self.checkpoint, {"root": root.state_dict(), "lines": self.history.lines, **state}
            )
        self.accelerator.wait_for_everyone()

    def _last_good(self) -> str:
        if self.checkpoint and self.checkpoint.exists():
            return f"The last good checkpoint is {self.checkpoint}."
        return "No checkpoint had been written yet."

    def _track(self, line: Mapping[str, Any], number: int) -> None:
        stage = line["stage"]
        figures = {f"{stage}/{name}": value for name, value in line["terms"].items()}
        figures |= {f"{stage}/validation/{name}": value for name, value in line.get("validation", {}).items()}
        self.accelerator.log({**figures, f"{stage}/lr": line["lr"]}, step=line["step"])


class _Means:
    """Means of the terms over an epoch, weighted by samples, kept on the device until they are read."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._samples = 0

    def add(self, names: list[str], values: Tensor, samples: int) -> None:
        if self._names and names != self._names:
            raise LimbeckError(f"the terms changed within an epoch, from {self._names} to {names}")
        self._names, self._samples = names, self._samples + samples
        self._sums = values * samples if self._sums is None else self._sums + values * samples

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        assert self._sums is not None
        sums = torch.cat([self._sums, self._sums.new_tensor([self._samples])])
        *sums, samples = accelerator.reduce(sums, reduction="sum").tolist()
        return {name: value / samples for name, value in zip(self._names, sums, strict=True)}


def _sized(batches: Iterable[object]) -> Sized:
    if not isinstance(batches, Sized):
        raise LimbeckError("a loader must have a length; wrap a generator in a list or a DataLoader")
    if len(batches) == 0:
        raise LimbeckError("the loader is empty; there is nothing to train on")
    return batches
