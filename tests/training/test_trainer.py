from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState, PartialState
from small_training import Fit, Regression, batches, rows, same, squared_error, stage, weights
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from limbeck import Distiller, data
from limbeck.data import Loader
from limbeck.errors import LimbeckError
from limbeck.intervals import Interval
from limbeck.methods import Losses, Term
from limbeck.optimization import SGD, Cosine, JointOptimizer
from limbeck.outputs import Batch, Progress
from limbeck.stopping import Interrupted, Terminated
from limbeck.teachers import FileTeacher, Teacher
from limbeck.training import Trainer, checkpoints
from limbeck.training.choices import Choices
from limbeck.training.fitting import Fitting
from limbeck.training.trials import Trials
from scripted_loop import ScriptedLoop
from two_processes import run_in_two_processes


def fitted(fit: Fit, *stages: ScriptedLoop, resume: bool = False, **settings: Any) -> dict[str, Tensor]:
    """The model's weights after training."""
    Trainer(display=False, device="cpu", **settings).fit(fit, stages, resume=resume)
    return weights(fit.model)


def lines_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


class TestSteps:
    @pytest.mark.parametrize("accumulation", [2, 3, 4, 20])
    def test_accumulation_equals_whole_batches(self, accumulation: int, tmp_path: Path) -> None:
        found = []
        for pieces in (1, accumulation):
            fit = Fit(Regression().double())
            data = batches(7, 9, 2, dtype=torch.float64)
            folder = tmp_path / str(pieces)
            state = fitted(fit, stage(fit, data, epochs=3), accumulation=pieces, directory=folder)
            found.append((state, [line["terms"] for line in lines_of(folder)]))
        (whole, terms), (split, split_terms) = found
        for name, value in whole.items():
            torch.testing.assert_close(split[name], value, rtol=1e-12, atol=1e-14)
        for one, other in zip(terms, split_terms, strict=True):
            assert one == pytest.approx(other, rel=1e-12)

    def test_accumulation_makes_one_step_of_the_pieces(self) -> None:
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(7, 2), epochs=1), accumulation=3)
        assert [len(batch) for batch in fit.seen] == [3, 2, 2, 1, 1]
        assert same(fit.before[0], fit.before[2])
        assert not same(fit.before[2], fit.before[3])
        assert same(fit.before[3], fit.before[4])

    def test_a_term_is_logged_as_its_mean_over_samples(self, tmp_path: Path) -> None:
        def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
            assert isinstance(batch.inputs, Tensor)
            return {
                "mean": batch.inputs.mean() + 0 * model.last.bias.sum(),
                "one": model.last.bias.sum() * 0 + 1,
            }

        fit = Fit(Regression(), terms)
        fitted(fit, stage(fit, batches(8, 8, 3), epochs=1), directory=tmp_path)
        mean = rows(19).mean().item()
        expected = {"mean": mean, "one": 1.0, "total": mean + 1}
        assert lines_of(tmp_path)[0]["terms"] == pytest.approx(expected, rel=1e-5)

    def test_clipping_looks_at_each_optimizer_by_itself(self) -> None:
        def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
            """Gradients (30, 40, ...) for the first layer's bias and 0.5 for the last one's."""
            slope = torch.tensor([30.0, 40.0, 0.0, 0.0])
            return {"linear": (model.first.bias * slope).sum() + 0.5 * model.last.bias.sum()}

        plain = SGD(lr=1.0, momentum=0.0, weight_decay=0.0)
        fit = Fit(Regression(), terms)
        before = weights(fit.model)

        @contextmanager
        def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
            yield (
                fit,
                JointOptimizer([plain(fit.model.first.parameters()), plain(fit.model.last.parameters())]),
            )

        one = batches(4)
        after = fitted(fit, ScriptedLoop("training", opened, lambda epoch: one, epochs=1), clip=2.0)
        moved = {name: before[name] - after[name] for name in before}
        torch.testing.assert_close(
            moved["first.bias"], torch.tensor([1.2, 1.6, 0.0, 0.0]), rtol=1e-5, atol=1e-6
        )
        torch.testing.assert_close(moved["last.bias"], torch.tensor([0.5]), rtol=1e-5, atol=1e-6)

    def test_clipping_takes_the_gradient_of_all_pieces(self) -> None:
        def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
            return {"linear": model.last.bias.sum() * batch.inputs.sum(1).mean()}  # type: ignore[union-attr]

        found = []
        for accumulation in (1, 3):
            fit = Fit(Regression().double(), terms)
            data = batches(9, dtype=torch.float64)
            found.append(fitted(fit, stage(fit, data), clip=0.01, accumulation=accumulation)["last.bias"])
        torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)

    def test_steps_are_told_how_far_training_has_come(self) -> None:
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(2, 2), epochs=2))
        assert [batch.progress for batch in fit.seen] == [
            Progress(0, 0, 0.0),
            Progress(1, 0, 0.25),
            Progress(2, 1, 0.5),
            Progress(3, 1, 0.75),
        ]

    def test_the_rate_follows_the_schedule_step_by_step(self, tmp_path: Path) -> None:
        rates: list[float] = []

        class Noted(torch.optim.SGD):
            def step(self, closure: Any = None) -> Any:
                rates.append(self.param_groups[0]["lr"])
                return super().step(closure)

        fit = Fit(Regression())
        training = stage(
            fit,
            batches(2, 2),
            epochs=2,
            optimizer=lambda parameters: Noted(parameters, lr=0.5),
            schedule=Cosine(),
        )
        fitted(fit, training, directory=tmp_path)
        assert rates == pytest.approx([0.5, 0.5 * (0.5 + 0.125**0.5), 0.25, 0.5 * (0.5 - 0.125**0.5)])
        assert [line["lr"] for line in lines_of(tmp_path)] == pytest.approx([0.5, 0.25])


class TestPrecision:
    def distilled(self, **settings: Any) -> tuple[list[torch.dtype], list[torch.dtype], dict[str, Tensor]]:
        """The types of the student's logits and of the losses, and the weights, after 4 steps."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            student, teacher = nn.Linear(3, 4), nn.Linear(3, 4)
        distiller = Distiller(student, teacher, "ce + kd", example=torch.rand(2, 3))
        logits: list[torch.dtype] = []
        losses: list[torch.dtype] = []
        student.register_forward_hook(lambda module, inputs, output: logits.append(output.dtype))
        distiller.register_forward_hook(
            lambda module, inputs, output: losses.extend(value.dtype for value in output.values())
        )

        @contextmanager
        def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
            yield distiller, distiller.optimizer(SGD(lr=0.1))

        data = [(rows(8), torch.arange(8) % 4)] * 2
        Trainer(display=False, **settings).fit(
            distiller, [ScriptedLoop("training", opened, lambda epoch: data, 2)]
        )
        return logits, losses, weights(student)

    def test_bfloat16_networks_have_float32_losses_and_weights(self) -> None:
        logits, losses, half = self.distilled(precision="bf16")
        assert logits == [torch.bfloat16] * 4
        assert losses == [torch.float32] * 8
        logits, losses, full = self.distilled(precision="fp32")
        assert logits == [torch.float32] * 4
        assert losses == [torch.float32] * 8
        for name, value in full.items():
            assert half[name].dtype == torch.float32
            assert not torch.equal(half[name], value)
            torch.testing.assert_close(half[name], value, rtol=0.05, atol=0.01)


class Maps(Fit):
    """A stage's module with a convolution: learns the mean of the first channel."""

    def __init__(self) -> None:
        super().__init__(Regression())
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, batch: Batch) -> Losses:
        self.seen.append(batch)
        assert isinstance(batch.inputs, Tensor)
        error = self.norm(self.conv(batch.inputs)).mean((1, 2, 3)) - batch.inputs[:, 0].mean((1, 2))
        return Losses({"mse": Term(error.float().square().mean())})


class TestChoices:
    IMAGES = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(2))

    def trained(self, **settings: Any) -> tuple[Trainer, Maps]:
        trainer, maps = Trainer(display=False, device="cpu", **settings), Maps()
        trainer.fit(maps, [stage(maps, list(torch.split(self.IMAGES, 4)))])
        return trainer, maps

    def test_convolutional_networks_get_their_images_channels_last(self) -> None:
        trainer, maps = self.trained(precision="fp32")
        assert trainer.choices == Choices("fp32", "channels_last")
        assert len(maps.seen) == 1 + 6, "one trial"
        for batch in maps.seen:
            assert isinstance(batch.inputs, Tensor)
            assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert all(value.is_contiguous() for value in maps.state_dict().values())
        plain, other = self.trained(precision="fp32", memory_format="contiguous")
        assert plain.choices == Choices("fp32", "contiguous")
        assert len(other.seen) == 6
        for name, value in other.state_dict().items():
            torch.testing.assert_close(maps.state_dict()[name], value, rtol=1e-4, atol=1e-5)
        assert int(maps.state_dict()["norm.num_batches_tracked"]) == 6, "the trial has been undone"

    @pytest.mark.parametrize("able", [True, False])
    def test_auto_is_settled_before_training(self, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("limbeck.training.choices.multiplies_bfloat16", lambda: able)
        trainer = Trainer(display=False, device="cpu")
        assert trainer.precision == ("bf16" if able else "fp32")
        assert Trainer(display=False, device="cpu", precision="fp32").precision == "fp32"

    def interrupted(self, folder: Path, compiled: Any = None, **settings: Any) -> None:
        maps = Maps()
        scores = iter([{"top1": 0.0}, {"top1": 0.0}])
        with pytest.raises(StopIteration):
            Trainer(display=False, device="cpu", directory=folder, **settings).fit(
                maps,
                [stage(maps, [self.IMAGES], epochs=4, validate=lambda: next(scores), compiled=compiled)],
            )

    def resumed(self, folder: Path, compiled: Any = None, **settings: Any) -> Trainer:
        maps = Maps()
        trainer = Trainer(display=False, device="cpu", directory=folder, **settings)
        trainer.fit(maps, [stage(maps, [self.IMAGES], epochs=4, compiled=compiled)], resume=True)
        return trainer

    def test_a_resumed_training_takes_them_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupted(tmp_path, precision="bf16", memory_format="contiguous")
        monkeypatch.setattr(
            "limbeck.training.choices.multiplies_bfloat16", lambda: False
        )  # as on another machine
        trainer = self.resumed(tmp_path)
        assert trainer.choices == Choices("bf16", "contiguous"), "channels-last would be the choice of today"
        assert trainer.precision == "bf16"
        assert len(lines_of(tmp_path)) == 4
        assert self.resumed(tmp_path).choices == Choices("bf16", "contiguous"), "also when it is over"

    def test_what_is_asked_for_wins_over_what_was_chosen(self, tmp_path: Path) -> None:
        self.interrupted(tmp_path, precision="bf16", memory_format="contiguous")
        trainer = self.resumed(tmp_path, precision="fp32", memory_format="channels_last")
        assert trainer.choices == Choices("fp32", "channels_last")

    def test_each_stage_chooses_for_itself(self) -> None:
        maps, fit, found = Maps(), Fit(Regression()), list[Choices]()
        trainer = Trainer(display=False, device="cpu", precision="fp32")
        both = nn.ModuleList([maps, fit])
        stages = [
            stage(maps, [self.IMAGES], name="phase", finish=lambda: found.append(trainer.choices)),
            stage(fit, batches(4), finish=lambda: found.append(trainer.choices)),
        ]
        trainer.fit(both, stages)
        assert [choices.memory_format for choices in found] == ["channels_last", "contiguous"]

    def test_a_stage_is_compiled_while_it_lasts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "compile", lambda function: function)
        log: list[str] = []

        @contextmanager
        def compiled() -> Iterator[None]:
            log.append("compiled")
            yield
            log.append("as before")

        fit = Fit(Regression())
        trainer = Trainer(display=False, device="cpu", compile=True)
        one = stage(fit, batches(4), compiled=compiled, finish=lambda: log.append("finished"))
        trainer.fit(fit, [one])
        assert log == ["compiled", "as before", "finished"]
        assert len(fit.seen) == 2 + 2, "a trial as it is, and one compiled"
        assert trainer.choices.compile
        other = stage(fit, batches(4), name="phase")
        trainer.fit(fit, [other])
        assert not trainer.choices.compile, "there is nothing to compile"

    @staticmethod
    def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """What a trial hears of the batches to go."""
        found: list[int] = []

        def compile(
            self: Trials, choices: Choices, asked: Any, compiled: Any, context: Any, left: int
        ) -> Any:
            found.append(left)
            return choices

        monkeypatch.setattr(Trials, "compile", compile)
        return found

    @pytest.mark.parametrize(("accumulation", "left"), [(1, 2 * 3), (2, 2 * 3 * 2), (9, 2 * 3 * 4)])
    def test_what_is_timed_is_a_piece_and_all_pieces_are_counted(
        self, accumulation: int, left: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = self.counting(monkeypatch)
        fit = Fit(Regression())
        one = stage(fit, batches(4, 4, 4), compiled=nullcontext)
        Trainer(display=False, device="cpu", compile="auto", accumulation=accumulation).fit(fit, [one])
        assert found == [left]

    def test_a_resumed_training_that_took_the_compiler_says_so_where_there_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def choose(self: Trials, choices: Choices, *further: Any) -> Choices:
            return replace(choices, compile=True)

        with monkeypatch.context() as patch:
            patch.setattr(Trials, "compile", choose)
            self.interrupted(tmp_path, compile="auto", compiled=nullcontext)

        @contextmanager
        def compiled() -> Iterator[None]:
            broken.append(True)
            yield

        broken: list[bool] = []
        forward = Maps.forward

        def failing(self: Maps, batch: Batch) -> Losses:
            if broken:
                raise RuntimeError("No working C++ compiler found.")
            return forward(self, batch)

        monkeypatch.setattr(Maps, "forward", failing)
        with pytest.raises(
            LimbeckError,
            match=r"^compile=auto came to true when this training began, and it cannot be resumed here: the "
            r"networks cannot be compiled here: No working C\+\+ compiler found$",
        ):
            self.resumed(tmp_path, compile="auto", compiled=compiled)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(
        LimbeckError, match=f"^device='{device}' is not available here, where there is cpu; or"
    ):
        Trainer(device=device, display=False)


class TestValidation:
    @staticmethod
    def scripted(fit: Fit, scores: list[float], snapshots: list[dict[str, Tensor]]) -> Any:
        """Gives the next score at each call, and leaves the model in eval mode."""
        left = iter(scores)

        def validate() -> dict[str, float]:
            fit.eval()
            snapshots.append(weights(fit.model))
            return {"top1": next(left), "nll": 1.0}

        return validate

    def test_the_last_epoch_is_kept_unless_the_best_is_asked_for(self) -> None:
        scores = [0.1, 0.9, 0.3, 0.9]
        for keep_best, kept in ((False, 3), (True, 1)):
            fit, snapshots = Fit(Regression()), list[dict[str, Tensor]]()
            validate = self.scripted(fit, scores, snapshots)
            after = fitted(fit, stage(fit, batches(4), epochs=4, validate=validate, keep_best=keep_best))
            assert same(after, snapshots[kept])
            assert not same(snapshots[1], snapshots[3])
            assert fit.modes == [True] * 4, "a validation that leaves the model in eval mode does no harm"

    @pytest.mark.parametrize("scores", [[0.9, 0.5, 0.1, 0.2], [0.1, 0.2, 0.3, 0.4]])
    def test_the_best_epoch_survives_a_crash(self, scores: list[float], tmp_path: Path) -> None:
        fit = Fit(Regression())
        whole = fitted(
            fit,
            stage(fit, batches(4), epochs=4, validate=self.scripted(fit, scores, []), keep_best=True),
            directory=tmp_path / "whole",
        )
        fit = Fit(Regression())
        broken = self.scripted(fit, scores[:2], [])  # StopIteration in the third validation
        with pytest.raises(StopIteration):
            fitted(
                fit,
                stage(fit, batches(4), epochs=4, validate=broken, keep_best=True),
                directory=tmp_path / "crashed",
            )
        fit = Fit(Regression())
        again = self.scripted(fit, scores[2:], [])
        resumed = fitted(
            fit,
            stage(fit, batches(4), epochs=4, validate=again, keep_best=True),
            directory=tmp_path / "crashed",
            resume=True,
        )
        assert same(resumed, whole)
        one, other = (
            [{**line, "seconds": 0} for line in lines_of(tmp_path / n)] for n in ("whole", "crashed")
        )
        assert one == other


class TestRecords:
    def test_a_line_says_what_an_epoch_was(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        training = stage(fit, batches(4, 4, 4), schedule=Cosine(), validate=lambda: {"top1": 0.5, "nll": 2.0})
        fitted(fit, stage(fit, batches(4), epochs=1, name="mgd.low"), training, directory=tmp_path)
        lines = lines_of(tmp_path)
        assert [(line["phase"], line["epoch"], line["step"]) for line in lines] == [
            ("mgd.low", 1, 1),
            ("training", 1, 3),
            ("training", 2, 6),
        ]
        assert all(line["seconds"] >= 0 for line in lines)
        assert [line["lr"] for line in lines] == pytest.approx([0.05, 0.05, 0.025])
        assert all(line["terms"]["total"] == line["terms"]["mse"] > 0 for line in lines)
        assert "validation" not in lines[0]
        assert lines[1]["validation"] == lines[2]["validation"] == {"top1": 0.5, "nll": 2.0}
        assert lines[0].keys() == {"phase", "epoch", "step", "seconds", "lr", "terms"}

    def test_a_directory_is_filled_and_nothing_else(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(4)), directory=tmp_path / "new")
        files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
        checkpoints = ["new/checkpoints/last.pt", "new/checkpoints/previous.pt"]
        assert sorted(files) == [*checkpoints, "new/metrics.jsonl"]

    def test_a_fresh_training_does_not_add_to_an_old_history(self, tmp_path: Path) -> None:
        for _ in range(2):
            fit = Fit(Regression())
            fitted(fit, stage(fit, batches(4), epochs=3), directory=tmp_path)
        assert [line["epoch"] for line in lines_of(tmp_path)] == [1, 2, 3]

    def test_tensorboard_gets_the_figures_of_the_history(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        training = stage(fit, batches(4, 4), validate=lambda: {"top1": 0.25})
        fitted(fit, training, directory=tmp_path, trackers=["tensorboard"])
        events = EventAccumulator(str(tmp_path / "trackers" / "limbeck"))
        events.Reload()
        lines = lines_of(tmp_path)
        for tag, name in (("training/mse", "mse"), ("training/total", "total")):
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            assert found == [(line["step"], pytest.approx(line["terms"][name])) for line in lines]
        assert [event.value for event in events.Scalars("training/validation/top1")] == [0.25, 0.25]
        assert [event.value for event in events.Scalars("training/lr")] == [pytest.approx(0.05)] * 2

    def test_figures_reach_the_tracker_also_when_training_breaks_off(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        scores = iter([{"top1": 0.5}])
        with pytest.raises(StopIteration):
            fitted(
                fit,
                stage(fit, batches(4), validate=lambda: next(scores)),
                directory=tmp_path,
                trackers=["tensorboard"],
            )
        events = EventAccumulator(str(tmp_path / "trackers" / "limbeck"))
        events.Reload()
        assert len(events.Scalars("training/mse")) == 1

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("tensorbord", "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
            ("swanlab", "the tracker 'swanlab' is not installed here; leave it out of the trackers"),
        ],
    )
    def test_a_tracker_that_would_be_left_out_in_silence_is_refused(
        self, name: str, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(LimbeckError) as caught:
            Trainer(trackers=[name], directory=tmp_path)
        assert str(caught.value) == message

    def test_a_tracker_without_a_directory_is_refused(self) -> None:
        with pytest.raises(LimbeckError, match=r"give Trainer\(directory=\.\.\.\)"):
            Trainer(trackers=["tensorboard"])


class TestSeeds:
    def test_a_training_is_a_function_of_its_seed(self) -> None:
        found = []
        for seed in (3, 3, 4):
            fit = Fit(Regression(dropout=0.5))
            found.append(fitted(fit, stage(fit, batches(4, 4)), seed=seed))
        assert same(found[0], found[1])
        assert not same(found[0], found[2])

    def test_random_numbers_differ_from_stage_to_stage_and_epoch_to_epoch(self) -> None:
        drawn: list[float] = []

        def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
            drawn.append(torch.rand(()).item())
            return squared_error(model, batch)

        fit = Fit(Regression(), terms)
        stages = [stage(fit, batches(2, 2), name="first"), stage(fit, batches(2, 2), name="second")]
        fitted(fit, *stages)
        assert len(set(drawn)) == len(drawn) == 8
        first = drawn.copy()
        drawn.clear()
        fitted(fit, stages[1])
        assert drawn == first[4:], "what ran before a stage does not change its numbers"
        drawn.clear()
        fitted(fit, stage(fit, batches(2, 2), name="second", seed=9))
        assert not set(drawn) & set(first), "a stage's own seed counts"

    def test_the_global_generators_are_left_as_they_were(self, tmp_path: Path) -> None:
        before = (
            torch.get_rng_state(),
            random.getstate(),
            np.random.get_state(legacy=False)["state"]["key"].copy(),
        )
        fit = Fit(Regression(dropout=0.5))
        fitted(fit, stage(fit, batches(4, 4)), directory=tmp_path, trackers=["tensorboard"])
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[2])

    def test_trainers_within_one_another_do_not_disturb_each_other(self) -> None:
        def train(within: Any, **settings: Any) -> dict[str, Tensor]:
            fit = Fit(Regression(dropout=0.5))
            data = batches(4, 4)

            def validate() -> dict[str, float]:
                within()
                return {"top1": 0.0}

            return fitted(fit, stage(fit, data, validate=validate), **settings)

        one = {"precision": "bf16", "seed": 1, "clip": 0.1}
        other = {"precision": "fp32", "seed": 2, "accumulation": 2}
        alone = [train(lambda: None, **settings) for settings in (one, other)]
        inner: list[dict[str, Tensor]] = []
        outer = train(lambda: inner.append(train(lambda: None, **other)), **one)
        assert same(outer, alone[0])
        assert all(same(each, alone[1]) for each in inner)
        assert len(inner) == 2

    def test_the_cpu_is_taken_whatever_the_process_had_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Trainer(display=False)
        for shared in (PartialState._shared_state, AcceleratorState._shared_state):
            monkeypatch.setitem(shared, "device", torch.device("meta"))
        trainer = Trainer(display=False, device="cpu")
        fit = Fit(Regression())
        trainer.fit(fit, [stage(fit, batches(4))])
        assert trainer.device == torch.device("cpu")
        assert fit.model.last.weight.device == torch.device("cpu")
        assert Trainer(display=False, device="auto").device == torch.device("meta")


class TestLoaders:
    def test_a_loader_of_pairs(self) -> None:
        def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
            assert isinstance(batch.inputs, Tensor)
            assert batch.targets is not None
            return {"mse": F.mse_loss(model(batch.inputs)[:, 0], batch.targets.float())}

        found = []
        for _ in range(2):
            fit = Fit(Regression(), terms)
            loader = DataLoader(TensorDataset(rows(10), torch.arange(10)), batch_size=4, shuffle=True)
            found.append(fitted(fit, stage(fit, loader)))
        targets = [batch.targets for batch in fit.seen if batch.targets is not None]
        assert [len(part) for part in targets] == [4, 4, 2, 4, 4, 2]
        first, second = (torch.cat(part).tolist() for part in (targets[:3], targets[3:]))
        assert sorted(first) == sorted(second) == list(range(10))
        assert first != second, "it shuffles anew in each epoch"
        assert same(*found), "in an order that the trainer's seed decides"

    def test_a_loader_of_mappings(self) -> None:
        def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
            assert not isinstance(batch.inputs, Tensor)
            assert batch.targets is not None
            return {"mse": F.mse_loss(model(batch.inputs["x"])[:, 0], batch.targets.float())}

        samples = [{"x": row, "labels": number} for number, row in enumerate(rows(6))]
        fit = Fit(Regression(), terms)
        fitted(fit, stage(fit, DataLoader(samples, batch_size=4), epochs=1))  # type: ignore[arg-type]
        assert [batch.targets.tolist() for batch in fit.seen if batch.targets is not None] == [
            [0, 1, 2, 3],
            [4, 5],
        ]
        assert torch.equal(torch.cat([batch.inputs["x"] for batch in fit.seen]), rows(6))  # type: ignore[index]

    def test_a_generator_is_refused(self) -> None:
        fit = Fit(Regression())
        with pytest.raises(LimbeckError, match="a loader must have a length; make a generator a list"):
            fitted(fit, stage(fit, (batch for batch in batches(4))))

    def test_an_iterable_data_set_is_refused(self) -> None:
        class Stream(IterableDataset[Tensor]):
            def __iter__(self) -> Iterator[Tensor]:
                return iter(rows(4))

        fit = Fit(Regression())
        with pytest.raises(LimbeckError, match="a loader must have a length"):
            fitted(fit, stage(fit, DataLoader(Stream(), batch_size=2)))

    def test_an_empty_loader_is_refused(self) -> None:
        fit = Fit(Regression())
        with pytest.raises(LimbeckError, match="the loader is empty"):
            fitted(fit, stage(fit, []))

    def test_a_loader_that_runs_dry_is_refused(self) -> None:
        class Once:
            def __init__(self) -> None:
                self.left = iter(batches(4))

            def __len__(self) -> int:
                return 1

            def __iter__(self) -> Iterator[Batch]:
                return self.left

        fit = Fit(Regression())
        with pytest.raises(LimbeckError, match="no batch in this epoch; it must start anew at each"):
            fitted(fit, stage(fit, Once()))

    def test_what_is_no_batch_is_refused(self) -> None:
        fit = Fit(Regression())
        with pytest.raises(LimbeckError, match="it yields tuple of 3"):
            fitted(fit, stage(fit, [(rows(2), rows(2), rows(2))]))


class TestResume:
    def stages(self, fit: Fit, stop_in: str = "", log: list[str] | None = None) -> list[ScriptedLoop]:
        """Two stages of three epochs of two steps; `stop_in` ("second 2") breaks off within that epoch."""
        data = batches(4, 4)

        def make(name: str) -> ScriptedLoop:
            def load(epoch: int) -> list[Batch]:
                class Torn(list[Batch]):
                    def __iter__(self) -> Iterator[Batch]:
                        yield data[0]
                        if stop_in == f"{name} {epoch + 1}":
                            raise KeyboardInterrupt
                        yield data[1]

                return Torn(data)

            def finish() -> None:
                if log is not None:
                    log.append(name)

            return stage(fit, [], name=name, epochs=3, schedule=Cosine(), batches=load, finish=finish)

        return [make("first"), make("second")]

    @pytest.mark.parametrize("stop_in", ["first 1", "first 3", "second 1", "second 2"])
    @pytest.mark.parametrize("checkpoint_every", [1, 5])
    def test_it_goes_on_as_if_nothing_had_happened(
        self, stop_in: str, checkpoint_every: int, tmp_path: Path
    ) -> None:
        settings: dict[str, Any] = {"seed": 7, "checkpoint_every": checkpoint_every}
        fit = Fit(Regression(dropout=0.5))
        whole = fitted(fit, *self.stages(fit), directory=tmp_path / "whole", **settings)
        crashed = tmp_path / "crashed"
        fit = Fit(Regression(dropout=0.5))
        with pytest.raises(KeyboardInterrupt):
            fitted(fit, *self.stages(fit, stop_in), directory=crashed, **settings)
        log: list[str] = []
        fit = Fit(Regression(dropout=0.5))
        resumed = fitted(fit, *self.stages(fit, log=log), directory=crashed, resume=True, **settings)
        assert same(resumed, whole)
        one, other = (
            [{**line, "seconds": 0} for line in lines_of(path)] for path in (tmp_path / "whole", crashed)
        )
        assert one == other
        assert log == (["second"] if stop_in.startswith("second") else ["first", "second"])

    def test_without_a_checkpoint_it_starts_from_the_beginning(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        fresh = fitted(fit, stage(fit, batches(4)))
        (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
        fit = Fit(Regression())
        assert same(fitted(fit, stage(fit, batches(4)), directory=tmp_path, resume=True), fresh)
        assert [line["epoch"] for line in lines_of(tmp_path)] == [1, 2]

    def test_a_finished_training_is_not_run_again(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        done = fitted(fit, stage(fit, batches(4)), directory=tmp_path)
        fit = Fit(Regression())
        assert same(fitted(fit, stage(fit, batches(4)), directory=tmp_path, resume=True), done)
        assert fit.seen == []

    @pytest.mark.parametrize("stop_at", [1, 2, 3, 5, 6])
    def test_a_signal_has_it_saved_within_the_epoch(self, stop_at: int, tmp_path: Path) -> None:
        """Of two epochs of three steps with dropout."""

        def training(fit: Fit) -> ScriptedLoop:
            return stage(fit, batches(4, 4, 2), schedule=Cosine(), validate=lambda: {"top1": 0.5})

        fit = Fit(Regression(dropout=0.5))
        whole = fitted(fit, training(fit), directory=tmp_path / "whole")
        given = 0

        def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
            nonlocal given
            given += 1
            if given == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return squared_error(model, batch)

        stopped = Fit(Regression(dropout=0.5), terms)
        # Before the first step is done, nothing is worth waiting for.
        done = "nothing is saved yet" if stop_at == 1 else f"step {stop_at} of training is done, and the last"
        with pytest.raises(Terminated, match=f"stopped by SIGTERM; {done}"):
            fitted(stopped, training(stopped), directory=tmp_path / "stopped")
        assert given == stop_at
        resumed = Fit(Regression(dropout=0.5))
        after = fitted(resumed, training(resumed), directory=tmp_path / "stopped", resume=True)
        assert same(after, whole)
        assert len(resumed.seen) == (6 if stop_at == 1 else 6 - stop_at)
        one, other = (
            [{**line, "seconds": 0} for line in lines_of(tmp_path / path)] for path in ("whole", "stopped")
        )
        assert one == other

    def test_a_signal_does_not_wait_for_validation(self, tmp_path: Path) -> None:
        def interrupted() -> dict[str, float]:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the signal is raised before this")

        fit = Fit(Regression(dropout=0.5))
        scores: dict[str, Any] = {"validate": lambda: {"top1": 0.5}, "keep_best": True}
        whole = fitted(fit, stage(fit, batches(4, 4), **scores), directory=tmp_path / "whole")
        fit = Fit(Regression(dropout=0.5))
        with pytest.raises(Interrupted, match="stopped by SIGINT; step 2 of training is done"):
            fitted(fit, stage(fit, batches(4, 4), validate=interrupted), directory=tmp_path / "stopped")
        fit = Fit(Regression(dropout=0.5))
        resumed = stage(fit, batches(4, 4), **scores)
        assert same(fitted(fit, resumed, directory=tmp_path / "stopped", resume=True), whole)
        assert len(fit.seen) == 2, "the first epoch was over"

    def test_a_loader_that_draws_random_numbers_goes_on_alike(self, tmp_path: Path) -> None:
        """One that shuffles by torch's own, and an optimizer with a state."""
        dataset = TensorDataset(rows(10), rows(10).sum(1))

        def training(fit: Fit) -> ScriptedLoop:
            loader = DataLoader(dataset, batch_size=2, shuffle=True)
            return stage(fit, [], batches=lambda epoch: loader, optimizer=SGD(lr=0.05, momentum=0.9))

        fit = Fit(Regression(dropout=0.5))
        whole = fitted(fit, training(fit))
        fit = Fit(Regression(dropout=0.5))
        killed = ScriptedLoop.batches

        def few(self: ScriptedLoop, epoch: int) -> Any:
            class Torn:
                def __len__(self) -> int:
                    return 5

                def __iter__(self) -> Iterator[Any]:
                    for number, batch in enumerate(loader):
                        if number == 3 and epoch == 1:
                            raise KeyboardInterrupt
                        yield batch

            loader = killed(self, epoch)
            return Torn()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ScriptedLoop, "batches", few)
            with pytest.raises(KeyboardInterrupt):
                fitted(fit, training(fit), directory=tmp_path, save_every=Interval(steps=1))
        fit = Fit(Regression(dropout=0.5))
        assert same(fitted(fit, training(fit), directory=tmp_path, resume=True), whole)
        assert len(fit.seen) == 2

    def test_the_last_good_checkpoint_is_taken_where_the_newest_is_torn(self, tmp_path: Path) -> None:
        fit = Fit(Regression(dropout=0.5))
        whole = fitted(fit, stage(fit, batches(4), epochs=3), directory=tmp_path)
        path = tmp_path / "checkpoints" / "last.pt"
        path.write_bytes(path.read_bytes()[:-50])
        fit = Fit(Regression(dropout=0.5))
        assert same(fitted(fit, stage(fit, batches(4), epochs=3), directory=tmp_path, resume=True), whole)
        assert len(fit.seen) == 1, "the third epoch again"
        assert [line["epoch"] for line in lines_of(tmp_path)] == [1, 2, 3]

    def test_a_torn_checkpoint_never_takes_the_place_of_a_whole_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(model: Regression, batch: Batch) -> dict[str, Tensor]:
            loss = squared_error(model, batch)["mse"]
            return {"mse": loss * torch.nan if len(fit.before) > good else loss}

        path = tmp_path / "checkpoints" / "last.pt"
        good, fit = 2, Fit(Regression(), broken)
        with pytest.raises(LimbeckError, match=re.escape(f"last good checkpoint is {path}.")):
            fitted(fit, stage(fit, batches(4), epochs=3), directory=tmp_path)
        path.write_bytes(path.read_bytes()[:-50])
        good, fit = 0, Fit(Regression(), broken)
        before = re.escape(f"last good checkpoint is {path.with_name('previous.pt')}.")
        with pytest.raises(LimbeckError, match=before):
            fitted(fit, stage(fit, batches(4), epochs=3), directory=tmp_path, resume=True)

        found, replace_file = [], Path.replace

        def replaced(self: Path, target: Path) -> Path:
            after = replace_file(self, target)
            if path.parent in target.parents:
                state, _ = checkpoints.load_last(path)
                found.append((state["loop"], state.get("epoch")))
            return after

        monkeypatch.setattr(Path, "replace", replaced)
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(4), epochs=3), directory=tmp_path, resume=True)
        assert found == [(0, 2), (0, 2), (1, None)], "whatever is there after each renaming is whole"
        assert checkpoints.load(path.with_name("previous.pt"))["epoch"] == 2

    def test_a_torn_checkpoint_of_another_training_is_written_over(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(4)), directory=tmp_path)
        path = tmp_path / "checkpoints" / "last.pt"
        path.write_bytes(path.read_bytes()[:-50])
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(4), epochs=1), directory=tmp_path)
        assert checkpoints.load(path)["loop"] == 1
        assert checkpoints.load(path.with_name("previous.pt"))["epoch"] == 1

    def test_a_damaged_checkpoint_is_refused(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(4)), directory=tmp_path)
        path = tmp_path / "checkpoints" / "last.pt"
        path.write_bytes(path.read_bytes()[:-100])
        path.with_name("previous.pt").unlink()
        history = (tmp_path / "metrics.jsonl").read_text()
        with pytest.raises(LimbeckError, match=r"last\.pt' cannot be read: it is damaged"):
            fitted(fit, stage(fit, batches(4)), directory=tmp_path, resume=True)
        assert (tmp_path / "metrics.jsonl").read_text() == history

    def test_a_checkpoint_of_another_module_is_refused(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        fitted(fit, stage(fit, batches(4)), directory=tmp_path)
        other = Fit(Regression())
        other.model.last = nn.Linear(4, 2)
        with pytest.raises(
            LimbeckError, match=r"last\.pt' is of another module: size mismatch for model\.last"
        ):
            fitted(other, stage(other, batches(4)), directory=tmp_path, resume=True)


class TestRecall:
    def test_a_stage_that_was_trained_before_is_put_in_place(self, tmp_path: Path) -> None:
        called: list[str] = []
        fit = Fit(Regression())
        earlier = {"phase": "old name", "epoch": 9, "terms": {"mse": 0.5}}
        known = stage(
            fit,
            batches(4),
            name="phase",
            recall=lambda setting: (earlier, lambda: called.append("restored")),
            trained=lambda setting, line: called.append("trained"),
            finish=lambda: called.append("finished"),
        )
        fitted(fit, known, directory=tmp_path)
        assert called == ["restored", "finished"]
        assert fit.seen == []
        assert lines_of(tmp_path) == [{**earlier, "phase": "phase", "cached": True}]
        fitted(fit, known, directory=tmp_path, resume=True)
        assert called == ["restored", "finished"], "a resumed training does not recall it again"

    def test_a_stage_that_was_not_is_trained_and_handed_over(self, tmp_path: Path) -> None:
        asked: list[str] = []
        told: list[tuple[str, Any]] = []
        both: list[dict[str, Any]] = [{}, {"accumulation": 2}]

        def recall(setting: str) -> None:
            asked.append(setting)

        for settings in both:
            fit = Fit(Regression())
            new = stage(
                fit,
                batches(4),
                recall=recall,
                trained=lambda setting, line: told.append((setting, line["epoch"])),
            )
            fitted(fit, new, **settings)
            assert len(fit.seen) == (4 if settings else 2)
        assert [epoch for _, epoch in told] == [2, 2]
        assert asked == [setting for setting, _ in told]
        assert asked[0] != asked[1], "the trainer's settings decide the result too"

    def test_all_processes_are_asked_whether_they_have_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counted: list[int] = []

        def everywhere(fitting: Fitting, number: int) -> int:
            counted.append(number)
            return 1  # another process has it

        fit = Fit(Regression())
        monkeypatch.setattr(Fitting, "_sum", everywhere)
        fitted(fit, stage(fit, batches(4), epochs=1, recall=lambda setting: None))
        assert counted[0] == 0, "a process that has it not takes part"
        assert len(fit.seen) == 1


SIZES = {"samples": 26, "batch": 7}  # 7, 7, 7, 5: shares of 4 and 3, then of 3 and 2


def train_share(rank: int, world: int, folder: str, port: int, accumulation: int) -> dict[str, Any]:
    """What one process of `world` ends with; without batch norm, so that splitting changes nothing.

    One of its teachers is a file that answers every fifth sample, so that pieces of batches have no answer.
    """
    if world > 1:
        local = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world}
        os.environ |= {name: str(value) for name, value in local.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        os.environ["OMP_NUM_THREADS"] = "1"
    with torch.random.fork_rng():
        torch.manual_seed(2)
        student = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
        teacher = nn.Linear(3, 4).double()
    inputs = rows(SIZES["samples"], torch.float64)
    source = data.from_tensors(inputs, torch.arange(SIZES["samples"]) % 4, validation=None)
    answers = Path(folder) / f"answers-{rank}.jsonl"
    few = range(0, SIZES["samples"], 5)
    answers.write_text("".join(f'{{"id": {number}, "label": {number % 3}}}\n' for number in few))
    teachers: dict[str, Teacher | nn.Module] = {"net": teacher, "file": FileTeacher(answers, source)}
    objective = '0.3*ce + kd(teacher="net") + kd(teacher="file")'
    distiller = Distiller(student, teachers, objective, example=inputs[:2])
    trainer = Trainer(
        device="cpu", display=False, directory=Path(folder), accumulation=accumulation, clip=0.5
    )
    loader = Loader(source.train, SIZES["batch"], rank=trainer.accelerator.process_index, world=world)
    pieces: list[int] = []
    student.register_forward_pre_hook(lambda module, args: pieces.append(len(args[0])))

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield distiller, distiller.optimizer(SGD(lr=0.1))

    def load(epoch: int) -> Loader:
        loader.set_epoch(epoch)
        return loader

    answered = distiller.teachers.answered
    loop = ScriptedLoop("training", opened, load, epochs=3, schedule=Cosine(), answered=answered)
    trainer.fit(distiller, [loop])
    return {
        "world": trainer.accelerator.num_processes,
        "main": trainer.main,
        "weights": weights(student),
        "pieces": len(pieces),
    }


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, list[dict[str, Any]]]]:
    """What two processes end with, by accumulation."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {accumulation: tmp_path_factory.mktemp(f"two-{accumulation}") for accumulation in (1, 2, 4)}
    jobs = [(train_share, (str(folder), port, each)) for each, folder in folders.items()]
    results = run_in_two_processes(jobs, paths=[Path(__file__).parent, Path(__file__).parents[1]])
    return {each: (folders[each], ranks) for each, ranks in zip(folders, results, strict=True)}


@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_two_processes_end_with_the_weights_of_one(
    accumulation: int, shares: dict[int, tuple[Path, list[dict[str, Any]]]], tmp_path: Path
) -> None:
    alone = train_share(0, 1, str(tmp_path), 0, 1)
    folder, ranks = shares[accumulation]
    assert [(rank["world"], rank["main"]) for rank in ranks] == [(2, True), (2, False)]
    assert ranks[0]["pieces"] == ranks[1]["pieces"], "each may wait for the other in every piece"
    for rank in ranks:
        for name, value in alone["weights"].items():
            torch.testing.assert_close(rank["weights"][name], value, rtol=1e-10, atol=1e-12)
    expected, found = lines_of(tmp_path), lines_of(folder)
    assert len(found) == len(expected) == 3, "one process writes"
    for one, other in zip(expected, found, strict=True):
        assert other["terms"] == pytest.approx(one["terms"], rel=1e-9)
        assert (other["step"], other["lr"]) == (one["step"], one["lr"])
