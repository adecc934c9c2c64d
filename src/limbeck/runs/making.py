"""A run in the making: from its config to what it leaves in its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from accelerate.utils import gather_object

from limbeck.config import RunConfig
from limbeck.errors import LimbeckError
from limbeck.intervals import parse_interval
from limbeck.models.factory import named_by
from limbeck.runs import chance, directory, places
from limbeck.runs.beside import Beside
from limbeck.runs.directory import Report, Run
from limbeck.runs.finish import conclude, write_student
from limbeck.runs.job import Job, prepare
from limbeck.runs.locking import Lock
from limbeck.runs.loops import Watch, loops
from limbeck.training import DivergenceError, Trainer, checkpoints
from limbeck.training.world import launched, led


@dataclass(frozen=True)
class Making:
    """What a run is made of.

    Attributes:
        config: of the run.
        path: its directory.
        objects: what was handed over, by the dotted key of the config that names it.
        resume: whether the run goes on that is in the directory.
        overwrite: whether what is there is replaced.
        display: whether to show progress.
        report: a function that writes the run's page; None for no page.
    """

    config: RunConfig
    path: Path
    objects: Mapping[str, Any]
    resume: bool
    overwrite: bool
    display: bool
    report: Report | None

    def run(self, beside: Beside | None = None, watch: Watch | None = None) -> Run:
        """The run, when it is finished; one that was finished before is left as it is.

        Args:
            beside: plans what the run will be shown beside; None for nothing.
            watch: is told after each epoch of the student's training.
        Raises:
            LimbeckError: for what does not make a run; no file is written then.
            DivergenceError: when a loss turns NaN or infinite.
        """
        if watch is not None and (together := launched()) > 1:
            raise LimbeckError(
                f"watch is told in one process, and {together} were started together; leave it out, or start "
                "one"
            )
        run = Run(self.path)
        done = self.resume and run.finished
        if done and (beside is None or run.result.baseline is not None):
            return run
        job = self._job(run)
        changed = directory.changed_settings(self.path, self.config) if self.resume else {}
        trainer = self._trainer(run)
        self._see_alike(trainer)
        to_do = loops(job, trainer, lambda epoch: write_student(job, self.objects, run.keeps(epoch)), watch)
        if beside:
            beside.plan(job, trainer, len(cast(Sized, to_do[-1].batches(0))))
        if done:
            return run
        for key, (old, new) in changed.items():
            trainer.display.note(f"the run goes on with {key}={new}, in place of {old}")
        lock = Lock(self.path)
        try:
            with led(trainer.accelerator):
                if trainer.main:
                    depends = self._claim(lock, run, job, trainer, changed, beside)
                    trainer.records.ready = partial(self._ready, lock, job, trainer, depends)
            try:
                trainer.fit(job.distiller, to_do, resume=self.resume)
            except DivergenceError as error:
                if (told := chance.explained(error, job)) is None:
                    raise
                raise DivergenceError(told) from error
            with led(trainer.accelerator):
                if trainer.main:
                    trainer.records.ready()
                    conclude(run, job, trainer, self.objects, self.report)
        finally:
            lock.give_back()
        return run

    def _job(self, run: Run) -> Job:
        """Data, networks and objective; a run that goes on has the teachers that it began with.

        Raises:
            LimbeckError: if one of them has changed.
        """
        with named_by(self.path) if self.resume else nullcontext():
            job = prepare(self.config, self.objects, run if self.resume else None)
        known = run.environment.get("teachers", {}) if self.resume else {}
        for name, weights in job.teacher_weights.items():
            if known.get(name, weights) != weights:
                what = "weights" if job.taught_by[name]["answers"] is None else "answers"
                raise LimbeckError(
                    f"the {what} of the teacher {'' if name == 'teacher' else f'{name!r} '}have changed "
                    f"since the run in {str(self.path)!r} began; put the old ones back, or start another run"
                )
        return job

    def _trainer(self, run: Run) -> Trainer:
        setup = self.config.training
        precision = setup.precision
        if self.resume and precision == "auto":
            precision = run.environment.get("precision", "auto")  # old ones lack it
        return Trainer(
            device=setup.device,
            precision=precision,
            memory_format=setup.memory_format,
            compile=setup.compile,
            accumulation=setup.accumulation,
            clip=setup.clip,
            seed=self.config.seed,
            directory=self.path,
            checkpoint_every=setup.checkpoint_every,
            save_every=None if setup.save_every is None else parse_interval(setup.save_every),
            skip_bad_steps=setup.skip_bad_steps,
            sharding=setup.sharding,
            trackers=setup.trackers,
            display=self.display,
        )

    def _see_alike(self, trainer: Trainer) -> None:
        """Refuses to go on with a run of which only some of the processes see the files.

        Raises:
            LimbeckError: in all of them.
        """
        checkpoint = trainer.records.checkpoint
        mine = self.resume, checkpoint is not None and checkpoints.there(checkpoint)
        if trainer.accelerator.num_processes > 1 and len(set(gather_object([mine]))) > 1:
            raise LimbeckError(
                f"some of the processes see a run in {str(self.path)!r} and others do not; put it on a disk "
                "that all machines share, as a run that goes on is read by all of them"
            )

    def _claim(
        self,
        lock: Lock,
        run: Run,
        job: Job,
        trainer: Trainer,
        changed: Mapping[str, tuple[Any, Any]],
        beside: Beside | None,
    ) -> dict[str, Any]:
        """Takes the directory and writes what the run is; what is resolved of it is returned."""
        lock.take()
        if self.resume:
            directory.sweep(self.path)
            directory.cleared(self.path)
            if changed:
                directory.change(self.path, job.config, changed, len(run.history))
            return run.environment
        directory.check_claim(self.path, resume=False, overwrite=self.overwrite)  # it may be another's by now
        depends = {
            "precision": trainer.precision,
            "teachers": dict(job.teacher_weights),
            "places": places.record(job.config, self.path),
            "distrusted": job.distrusted,
            **({"baseline": beside.asked} if beside else {}),
        }
        directory.claim(self.path, job.config, **depends)
        return depends

    def _ready(self, lock: Lock, job: Job, trainer: Trainer, depends: Mapping[str, Any]) -> None:
        """Makes a directory again that somebody has removed, so that what is saved can be resumed.

        Raises:
            LimbeckError: if it belongs to another run by now, or cannot be made.
        """
        marked = (self.path / "config.yaml").exists()
        if lock.held and marked:
            return
        if not lock.held:
            lock.take()
            if marked:
                lock.give_back()
                raise LimbeckError(
                    f"{str(self.path)!r} was removed in the meantime, and holds another run now"
                )
        trainer.display.note(f"{str(self.path)!r} was removed in the meantime and is made again")
        directory.mark(self.path, job.config, depends)
