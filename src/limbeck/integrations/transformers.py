"""`transformers.Trainer` that distills: its model is the student, its training loss the objective's total."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limbeck.distiller import Distiller
from limbeck.integrations import parts, refused
from limbeck.integrations.columns import Columns
from limbeck.methods import Method
from limbeck.optional import imported
from limbeck.outputs import Batch
from limbeck.teachers.group import Given
from limbeck.training import prepare
from limbeck.training.means import Means

if TYPE_CHECKING:
    import transformers
else:
    transformers = imported("transformers", "hf")


class DistillationTrainer(transformers.Trainer):
    """A `transformers.Trainer` whose model learns by an objective.

    Training minimizes the objective's total, a mean over all samples, labeled or not, of the accumulated
    batch of all processes (over its valid rows where samples have several). `evaluate` and `predict` see the
    student alone, with its own loss; `save_model` and checkpoints hold the student alone, as
    `save_pretrained` writes it, and `limbeck.pt` of a checkpoint the methods' own parts. Phases run when
    `train` begins.

    Args:
        args, kwargs: the arguments of `transformers.Trainer`; `model` is the student.
        teacher: a network that reads what the student reads, or what else `Distiller` takes; never changed.
        objective: text in the notation, or a method.
        distiller_kwargs: further arguments of `Distiller`, such as `task` or `teacher_features`.
    Raises:
        LimbeckError: for what a `Distiller` refuses, and for options that an objective cannot follow.
    """

    def __init__(
        self,
        *args: Any,
        teacher: Given | Mapping[str, Given] | None = None,
        objective: str | Method,
        distiller_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        refused.options(self)
        student: Any = self.model
        refused.other_names(student, teacher)
        self.model_accepts_loss_kwargs = True  # compute_loss divides by the whole batch, so nobody else shall
        self._columns = Columns(self.label_names)
        self._means = Means()
        settings = self._columns.settings(student, self.train_dataset, self.get_train_dataloader())
        self.distiller = Distiller(student, teacher, objective, **settings | dict(distiller_kwargs or {}))
        refused.objective(self)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        """The micro-batches of a step, with what its means are over in the place of the number of labels."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, self._counts([self._batch(each) for each in batches])

    def _batch(self, inputs: Mapping[str, Any]) -> Batch:
        return self._columns.batch(inputs, self.distiller.task)

    def _counts(self, batches: list[Batch]) -> list[int]:
        """The samples and the valid rows of batches, over all processes."""
        counts = [sum(map(len, batches)), sum(int(self.distiller.task.count(each)) for each in batches)]
        found: Tensor = self.accelerator.reduce(torch.tensor(counts, device=self.args.device))
        return found.tolist()

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """In training the part that a micro-batch has in the total; in evaluation the student's own loss."""
        if self.accelerator.unwrap_model(model, keep_torch_compile=False) is not self.distiller:
            return super().compute_loss(model, inputs, return_outputs)
        done, epoch = self.state.global_step, int(self.state.epoch or 0)
        self.distiller.progress(done, epoch, done / self.state.max_steps)
        batch, world = self._batch(inputs), self.accelerator.num_processes
        samples, rows = num_items_in_batch or self._counts([batch])
        share, losses = len(batch) * world / samples, model(batch)
        if not self.distiller.task.even:
            valid = int(self.distiller.task.count(batch))
            losses = losses.reweighed(valid * world / max(rows, 1) / share)
        values = [value.detach().to(losses.total) for value in losses.values()]
        self._means.add(list(losses), torch.stack(values), len(batch))
        loss = losses.total * share
        return (loss, losses) if return_outputs else loss

    def compute_loss_context_manager(self) -> ExitStack:
        """The trainer's precision, which else only the distiller would get, and the student not by itself."""
        stack: ExitStack = super().compute_loss_context_manager()
        stack.enter_context(self.accelerator.autocast())
        return stack

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs the means of the objective's terms, unweighted, beside the loss: `loss_ce`, `loss_kd`."""
        if "loss" in logs:
            logs = logs | {f"loss_{name}": mean for name, mean in self._means.read(self.accelerator).items()}
            self._means = Means()
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Runs the phases that are left, and makes the trainer's optimizer, over the methods' parts too."""
        if self.distiller.phases_left:
            batches = self._columns.batches(self.get_train_dataloader(), self.distiller.task)
            precision = "bf16" if self.args.bf16 else "fp32"
            device, shown = self.args.device.type, not self.args.disable_tqdm
            prepare(self.distiller, batches, device=device, precision=precision, display=shown)
        if self.optimizer is None:
            self.optimizer = self.distiller.optimizer(self._over)
        return self.optimizer

    def _over(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """What `transformers.Trainer` makes, over these of the distiller's parameters."""
        chosen = set(parameters)
        others = [each for each in self.distiller.parameters() if each.requires_grad and each not in chosen]
        student, self.model = self.model, self.distiller
        try:
            for each in others:
                each.requires_grad_(False)
            return super().create_optimizer()
        finally:
            self.model = student
            for each in others:
                each.requires_grad_(True)

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if not training:
            return super()._wrap_model(model, training, dataloader)
        wrapped: nn.Module = self.accelerator.prepare_model(self.distiller)
        return wrapped

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            parts.save(self.distiller, output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        parts.load(self.distiller, resume_from_checkpoint)
