"""The one loop. It minimises what a module returns and knows nothing of distillation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
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
from limbeck.training.means import Means
from limbeck.training.stage import Stage, as_batch
from limbeck.training.trackers import check_trackers

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
        check_trackers(trackers, directory)
        # accelerate keeps its precision and its device in one place for the whole process, so two trainers
        # could not differ: autocast and the choice of the CPU are the trainer's own.
        self.accelerator = Accelerator(
            log_with=list(trackers) or None,
            project_dir=None if directory is None else str(directory / "trackers"),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.accelerator.native_amp, self.accelerator.scaler = False, None
        self.device: torch.device = torch.device("cpu") if device == "cpu" else self.accelerator.device
        if self.accelerator.num_processes > 1 and self.device.type != self.accelerator.device.type:
            raise LimbeckError(
                f"the processes were launched on {self.accelerator.device.type}; for the CPU, add --cpu there"
            )
        self.precision, self.accumulation, self.clip, self.seed = precision, accumulation, clip, seed
        self.directory, self.checkpoint_every = directory, checkpoint_every
        self.main: bool = self.accelerator.is_main_process
        self.history = History(directory / "metrics.jsonl" if directory and self.main else None)
        self.display = Display(enabled=display and self.main)
        self._trackers = bool(trackers)
        self._has_checkpoint = False

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
            LimbeckError: for a checkpoint that is damaged or of another module.
            DivergenceError: when a loss turns NaN or infinite.
        """
        root.to(self.device)
        state = self._read_checkpoint(root) if resume else None
        self._has_checkpoint = state is not None
        self.history.rewind(state["lines"] if state else 0)
        if self._trackers:
            self.accelerator.init_trackers("limbeck")
        try:
            with self.display:
                for number, stage in enumerate(stages):
                    if state and number < state["stage"]:
                        continue
                    started = state if state and number == state["stage"] and state["optimizer"] else None
                    self._stage(root, number, stage, started)
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

    def _stage(self, root: nn.Module, number: int, stage: Stage, state: dict[str, Any] | None) -> None:
        if state is None and self._recall(stage):
            self._save(root, stage=number + 1, optimizer=None)
            return
        steps = _length(stage.batches(0))
        best: dict[str, Any] | None = None
        with stage.open() as (module, optimizer):
            schedule = stage.schedule(optimizer, steps, stage.epochs)
            first = 0
            if state:
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
                first, best = state["epoch"], state["best"]
            wrapped = self.accelerator.prepare_model(module, device_placement=False)
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
        if wrapped is not module:  # what joins several processes holds a copy of the gradients
            self.accelerator.free_memory()
        if best:
            root.load_state_dict(best["root"])
        stage.trained(self._setting, self.history.last)
        stage.finish()
        self._save(root, stage=number + 1, optimizer=None)

    def _recall(self, stage: Stage) -> bool:
        """Puts an earlier result of the stage in place, if every process has found one."""
        found = stage.recall(self._setting)
        have = torch.tensor(int(found is not None), device=self.device)
        if found is None or int(self.accelerator.reduce(have, "sum")) < self.accelerator.num_processes:
            return False
        line, restore = found
        restore()
        self.history.add({**line, "stage": stage.name, "cached": True})
        self.display.note(f"{stage.name}: reused from the cache")
        stage.finish()
        return True

    @property
    def _setting(self) -> str:
        """What of the trainer's own settings decides how a stage ends."""
        return (
            f"{self.precision} {self.accumulation} {self.clip} {self.device.type} "
            f"{self.accelerator.num_processes} {torch.__version__}"
        )

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
        means = Means()
        begun = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        module.train()
        check_every = 1 if self.device.type == "cpu" else 50
        # Every epoch has random numbers of its own, whatever ran before it: a resumed run draws the same.
        devices = [self.device] if self.device.type == "cuda" else []
        seed = self.seed if stage.seed is None else stage.seed
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed_for(seed, stage.name, epoch, self.accelerator.process_index))
            for position, item in enumerate(stage.batches(epoch)):
                done = epoch * steps + position
                progress = Progress(done, epoch, done / (steps * stage.epochs))
                batch = replace(as_batch(item).to(self.device), progress=progress)
                self._step(done, batch, module, optimizer, guard, means)
                if (position + 1) % check_every == 0:
                    guard.check(stage.name, self._last_good())
                    self.display.step(position + 1)
                schedule.step()
            guard.check(stage.name, self._last_good())
            self.display.step(steps)
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
        means: Means,
    ) -> None:
        whole = batch.total or len(batch) * self.accelerator.num_processes
        # As many in every process, though one may have a sample more: methods wait for each other in each.
        count = min(self.accumulation, whole // self.accelerator.num_processes)
        pieces = batch.split(count) if count > 1 else [batch]
        values: Tensor | None = None
        for piece in pieces:
            # Gradients are averaged over processes, so a piece counts by its part of the mean share.
            share = len(piece) * self.accelerator.num_processes / whole
            last = piece is pieces[-1]
            with self._sync(module, last), self._autocast():
                losses: Losses = module(piece)
            with self._sync(module, last):
                losses.backward(share)
            figures = torch.stack(
                [losses.total.detach(), *(value.detach().to(losses.total) for value in losses.values())]
            )
            values = figures * share if values is None else values + figures * share
        assert values is not None
        parts = parts_of(optimizer)
        names = ["total", *losses.keys()]
        means.add(names, values, whole / self.accelerator.num_processes)
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
            self._has_checkpoint = True
        self.accelerator.wait_for_everyone()

    def _last_good(self) -> str:
        if self._has_checkpoint:
            return f"The last good checkpoint is {self.checkpoint}."
        return "No checkpoint had been written yet."

    def _track(self, line: Mapping[str, Any], number: int) -> None:
        stage = line["stage"]
        figures = {f"{stage}/{name}": value for name, value in line["terms"].items()}
        figures |= {f"{stage}/validation/{name}": value for name, value in line.get("validation", {}).items()}
        self.accelerator.log({**figures, f"{stage}/lr": line["lr"]}, step=line["step"])


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
