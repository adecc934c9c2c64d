"""A `Distiller` as a `lightning.LightningModule`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limbeck import checks
from limbeck.distiller import Distiller
from limbeck.evaluation.measure import answer_of
from limbeck.methods import Losses
from limbeck.optimization import MakeOptimizer
from limbeck.optional import imported
from limbeck.outputs import Inputs, Outputs, Progress
from limbeck.tasks import Meter
from limbeck.training import prepare
from limbeck.training.loop import as_batch

if TYPE_CHECKING:
    import lightning
else:
    lightning = imported("lightning", "lightning")


class DistillationModule(lightning.LightningModule):
    """Trains the student of a `Distiller` in a `lightning.Trainer`.

    Batches are what `limbeck.prepare` takes: (inputs, targets), mappings with "labels", inputs alone, or a
    `Batch`. Training logs `train_loss`, the objective's total, and every term, `train_kd`; validation and
    test measure the student alone and log the metrics of its task, `val_top1` and `test_top1`; `predict`
    gives the student's logits. Phases run when `fit` begins. A checkpoint has the student and the methods'
    parts, not the teacher.

    Args:
        distiller: student, teacher and objective; the student stays the caller's own object.
        optimizer: a callable that makes the optimizer of the parameters it is given.
        scheduler: a callable that makes a schedule of that optimizer, stepped once an epoch, or what
            Lightning takes for one: {"scheduler": ..., "interval": "step"}; None keeps the rate.
    Raises:
        LimbeckError: for an objective with a gradient rule, which Lightning's backward cannot follow.
    """

    def __init__(
        self,
        distiller: Distiller,
        optimizer: MakeOptimizer,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__()
        checks.plain_backward(distiller.objective, "Lightning")
        self.distiller = distiller
        self._make, self._schedule = optimizer, scheduler
        self._meters: dict[int, Meter] = {}

    def setup(self, stage: str) -> None:
        """Runs the phases, unless a checkpoint has them; before Lightning wraps the module for processes."""
        if stage != "fit" or self.trainer.ckpt_path or not self.distiller.phases_left:
            return
        self.trainer.fit_loop.setup_data()
        loader: Any = self.trainer.train_dataloader
        device = self.trainer.strategy.root_device.type
        precision = "bf16" if str(self.trainer.precision).startswith("bf16") else "fp32"
        prepare(self.distiller, loader, device=device, precision=precision, display=False)

    def configure_optimizers(self) -> Any:
        """The optimizer over student and methods' parts, with its schedule."""
        optimizer = self.distiller.optimizer(self._make)
        if self._schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._schedule(optimizer)}

    def forward(self, inputs: Inputs) -> Tensor:
        """The student's logits."""
        return answer_of(self.distiller.task, self.distiller.student)(inputs).logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The objective's total."""
        done, steps = self.global_step, self.trainer.estimated_stepping_batches
        given = as_batch(batch)
        losses: Losses = self.distiller(
            replace(given, progress=Progress(done, self.current_epoch, done / steps))
        )
        logged = {"train_loss": losses.total, **{f"train_{name}": value for name, value in losses.items()}}
        self.log_dict(logged, batch_size=len(given))
        return losses.total

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The student's logits."""
        return self.forward(as_batch(batch).inputs)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measures the student."""
        if dataloader_idx not in self._meters:
            self._meters[dataloader_idx] = self.distiller.task.meter()
        given = as_batch(batch)
        self._meters[dataloader_idx].update(Outputs(logits=self.forward(given.inputs)), given)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Logs the student's metrics."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Logs the student's metrics."""
        self._log_metrics("test")

    def _log_metrics(self, which: str) -> None:
        for number, meter in self._meters.items():
            suffix = f"/dataloader_idx_{number}" if len(self._meters) > 1 else ""
            found = {f"{which}_{name}{suffix}": value for name, value in meter.compute().items()}
            self.log_dict(found, sync_dist=True, add_dataloader_idx=False)
        self._meters = {}
