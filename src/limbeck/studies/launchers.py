"""Launchers that have the cells of a study run on other machines: a Ray cluster, or Slurm.

All machines see the study's directory at the same path, as on a shared file system, and have limbeck
installed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.files import write_text
from limbeck.optional import imported
from limbeck.studies.running import Order, Outcome, carried_out

RETRIES = 3
"""How often Ray gives a cell to another worker after one has died."""
GRACE = 60.0
"""Seconds that cells have to save what they are at, when the study is stopped."""
POLL = 1.0
"""Seconds between two looks at the jobs of Slurm."""


@dataclass(frozen=True)
class OnRay:
    """The launcher that hands cells to a Ray cluster that is there.

    It is the one that `RAY_ADDRESS` names, or that runs on this machine. A cell whose worker dies is given to
    another, which goes on from its last checkpoint.

    Attributes:
        cpus: that a cell takes.
        gpus: that a cell takes; a part of one may be given.
    """

    cpus: float = 1
    gpus: float = 0

    def __call__(self, orders: Sequence[Order]) -> Iterator[Outcome]:
        """Runs cells that need nothing of each other; gives each outcome as it comes."""
        if not orders:
            return
        ray = self.connected()
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)(_there)
        pending = {task.remote(os.getcwd(), order): order for order in orders}
        try:
            while pending:
                (done,), _ = ray.wait(list(pending))
                order = pending.pop(done)
                try:
                    yield ray.get(done)
                except ray.exceptions.RayError as error:  # the cell's own are caught where it runs
                    yield _lost(order, str(error))
        finally:
            for each in pending:
                ray.cancel(each)
            if pending:
                ray.wait(list(pending), num_returns=len(pending), timeout=GRACE)

    def connected(self) -> Any:
        """The module, connected with the cluster.

        Raises:
            LimbeckError: if there is none.
        """
        ray = imported("ray", "ray")
        if not ray.is_initialized():
            try:
                ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, RuntimeError, ValueError) as error:
                if address := os.environ.get("RAY_ADDRESS"):
                    raise LimbeckError(
                        f"the Ray cluster {address!r} (RAY_ADDRESS) does not answer: {error}"
                    ) from None
                raise LimbeckError(
                    "there is no Ray cluster here; start one with `ray start --head`, or name one "
                    "(RAY_ADDRESS)"
                ) from None
        return ray


@dataclass(frozen=True)
class OnSlurm:
    """The launcher that submits the cells as one array job of Slurm.

    A cell that is preempted, or whose time is over, is submitted again and goes on from its last checkpoint.

    Attributes:
        cpus: of a cell.
        gpus: of a cell.
        parameters: what else `submitit` is told, such as `slurm_partition` and `timeout_min`.
        cluster: "slurm", or another executor of submitit's.
    """

    cpus: int = 1
    gpus: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = "slurm"

    def __call__(self, orders: Sequence[Order]) -> Iterator[Outcome]:
        """Runs cells that need nothing of each other; gives each outcome as it comes."""
        if not orders:
            return
        submitit = self.there()
        executor = submitit.AutoExecutor(folder=orders[0].home / "slurm", cluster=self.cluster)
        parameters = {
            "name": "limbeck",
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus,
            **self.parameters,
        }
        try:
            executor.update_parameters(**parameters)
        except (NameError, TypeError, ValueError) as error:
            raise LimbeckError(f"submitit refuses what --slurm says: {error}") from None
        jobs = executor.map_array(_Again(), [os.getcwd()] * len(orders), orders)
        waited = dict(zip(jobs, orders, strict=True))
        try:
            for job in submitit.helpers.as_completed(jobs, poll_frequency=POLL):
                order = waited.pop(job)
                why = job.exception()
                yield job.result() if why is None else _lost(order, str(why))
        finally:
            for job in waited:
                job.cancel()

    def there(self) -> Any:
        """The module of submitit, where there is a Slurm.

        Raises:
            LimbeckError: if there is none.
        """
        submitit = imported("submitit", "slurm")
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise LimbeckError(
                "there is no Slurm here: sbatch is not found; start the study on a machine that submits jobs"
            )
        return submitit


class _Again:
    """What a job of Slurm runs, and runs again where it was stopped."""

    def __call__(self, folder: str, order: Order) -> Outcome:
        return _there(folder, order)

    def checkpoint(self, folder: str, order: Order) -> Any:
        """What is submitted in its place when its time is over: the same, since a cell goes on by itself."""
        return imported("submitit.helpers", "slurm").DelayedSubmission(self, folder, order)


def _there(folder: str, order: Order) -> Outcome:
    """Runs a cell on another machine, in the folder that the study was started in."""
    os.chdir(folder)
    return carried_out(order)


def _lost(order: Order, why: str) -> Outcome:
    """The outcome of a cell whose process died."""
    write_text(order.log, f"{order.cell.key}: its process died\n\n{why}\n")
    return Outcome(order.cell.key, log=order.log)
