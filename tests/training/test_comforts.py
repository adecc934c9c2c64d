"""What ends a training before its last epoch, and what it keeps of its weights on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Fit, Regression, batches, same, stage, weights
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.intervals import Interval
from limbeck.optimization import SGD, Cosine
from limbeck.outputs import Batch
from limbeck.training import Trainer
from limbeck.training.averaging import Averaging
from limbeck.training.patience import Patience
from scripted_loop import ScriptedLoop
from two_processes import as_launched, run_in_two_processes


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def scored(fit: Fit, scores: list[float], seen: list[dict[str, Tensor]] | None = None) -> Any:
    """A validation that gives one score after the other, and remembers the weights that it saw."""
    left = iter(scores)

    def validate() -> dict[str, float]:
        if seen is not None:
            seen.append(weights(fit.model))
        return {"top1": next(left)}

    return validate


def trained(fit: Fit, loop: ScriptedLoop, *, resume: bool = False, **settings: Any) -> dict[str, Tensor]:
    Trainer(device="cpu", display=False, **settings).fit(fit, [loop], resume=resume)
    return weights(fit.model)


class TestMaxSteps:
    def test_it_does_so_many_steps_and_the_schedule_ends_with_them(self, tmp_path: Path) -> None:
        fit, given = Fit(Regression()), list[tuple[int, float]]()
        loop = stage(fit, batches(2, 2, 2, 2), epochs=5, schedule=Cosine(), max_steps=6)
        forward = fit.forward

        def noting(batch: Batch) -> Any:
            assert batch.progress is not None
            given.append((batch.progress.step, batch.progress.fraction))
            return forward(batch)

        fit.forward = noting  # type: ignore[method-assign]
        trained(fit, loop, directory=tmp_path)
        assert given == [(step, step / 6) for step in range(6)]
        lines = lines_of(tmp_path)
        assert [(line["epoch"], line["step"]) for line in lines] == [(1, 4), (2, 6)]
        half = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 4 / 6))).item()
        assert [line["lr"] for line in lines] == pytest.approx([0.05, 0.05 * half], rel=1e-5)

    def test_the_steps_are_those_of_a_longer_training(self) -> None:
        found = [Fit(Regression()), Fit(Regression())]
        trained(found[0], stage(found[0], batches(2, 3, 2), epochs=3, max_steps=5))
        trained(found[1], stage(found[1], batches(2, 3, 2), epochs=3))
        assert len(found[0].before) == 5
        assert same(weights(found[0].model), found[1].before[5])

    def test_a_checkpoint_in_the_short_epoch_is_gone_on_from(self, tmp_path: Path) -> None:
        def short(fit: Fit) -> ScriptedLoop:
            return stage(fit, batches(2, 2, 2, 2), epochs=5, schedule=Cosine(), max_steps=7)

        whole = Fit(Regression(0.3))
        trained(whole, short(whole))

        fit = Fit(Regression(0.3))
        forward = fit.forward

        def dying(batch: Batch) -> Any:
            if len(fit.before) == 6:
                raise KeyError
            return forward(batch)

        fit.forward = dying  # type: ignore[method-assign]
        settings: dict[str, Any] = {"directory": tmp_path, "save_every": Interval(steps=1)}
        with pytest.raises(KeyError):
            trained(
                fit, stage(fit, batches(2, 2, 2, 2), epochs=5, schedule=Cosine(), max_steps=7), **settings
            )
        again = Fit(Regression(0.3))
        loop = stage(again, batches(2, 2, 2, 2), epochs=5, schedule=Cosine(), max_steps=7)
        after = trained(again, loop, resume=True, **settings)
        assert len(again.before) == 1, "the seventh step alone is left"
        assert same(after, weights(whole.model))


class TestEarlyStopping:
    SCORES = (0.5, 0.7, 0.6, 0.7, 0.9, 0.9)

    def test_it_stops_and_says_why(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fit, seen = Fit(Regression()), list[dict[str, Tensor]]()
        loop = stage(
            fit, batches(4), epochs=6, validate=scored(fit, [*self.SCORES], seen), patience=Patience(2)
        )
        Trainer(device="cpu", directory=tmp_path).fit(fit, [loop])
        lines = lines_of(tmp_path)
        why = (
            "stopped early after epoch 4: top-1 on the validation split has not improved since epoch 2, when "
            "it was 70.0 %"
        )
        assert [line.get("stopped") for line in lines] == [None, None, None, why]
        assert same(weights(fit.model), seen[3]), "what is kept is another matter"
        assert f"training {why}\n" in capsys.readouterr().err

    def test_the_best_epoch_may_be_kept(self) -> None:
        fit, seen = Fit(Regression()), list[dict[str, Tensor]]()
        validate = scored(fit, [*self.SCORES], seen)
        loop = stage(fit, batches(4), epochs=6, validate=validate, patience=Patience(2), keep_best=True)
        assert same(trained(fit, loop), seen[1])

    def test_the_last_epoch_stops_nothing_early(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        loop = stage(fit, batches(4), epochs=4, validate=scored(fit, [*self.SCORES]), patience=Patience(2))
        trained(fit, loop, directory=tmp_path)
        assert all("stopped" not in line for line in lines_of(tmp_path))

    def test_a_resumed_training_keeps_the_counter(self, tmp_path: Path) -> None:
        fit = Fit(Regression())
        broken = stage(fit, batches(4), epochs=6, validate=scored(fit, [0.5, 0.7, 0.6]), patience=Patience(2))
        with pytest.raises(StopIteration):  # in the fourth validation
            trained(fit, broken, directory=tmp_path)
        again = Fit(Regression())
        rest = stage(again, batches(4), epochs=6, validate=scored(again, [0.7, 0.9]), patience=Patience(2))
        trained(again, rest, directory=tmp_path, resume=True)
        assert len(again.before) == 1
        assert [line["epoch"] for line in lines_of(tmp_path) if "stopped" in line] == [4]


class TestAverage:
    def averaged(self, fit: Fit, seen: list[dict[str, Tensor]] | None = None, **changes: Any) -> ScriptedLoop:
        """A loop of 3 epochs of 2 steps with the average of the model's weights."""
        given = {"epochs": 3, "validate": scored(fit, [0.5, 0.9, 0.7], seen), **changes}
        return stage(fit, batches(4, 4), averaging=lambda: Averaging(fit.model, 0.5), **given)

    def test_what_is_measured_and_kept_is_the_average(self) -> None:
        plain, fit, seen = Fit(Regression()), Fit(Regression()), list[dict[str, Tensor]]()
        after = trained(fit, self.averaged(fit, seen))
        trained(plain, stage(plain, batches(4, 4), epochs=3))
        steps = [*plain.before[1:], weights(plain.model)]
        for found, last in zip(seen, (2, 4, 6), strict=True):
            expected = steps[0]
            for step in steps[1:last]:
                expected = {name: value.lerp(step[name], 0.5) for name, value in expected.items()}
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value)
        assert same(after, seen[2])
        assert all(same(one, other) for one, other in zip(fit.before, plain.before, strict=True)), (
            "training itself goes on with the weights as they are"
        )

    def test_the_best_epoch_is_one_of_the_average(self) -> None:
        fit, seen = Fit(Regression()), list[dict[str, Tensor]]()
        assert same(trained(fit, self.averaged(fit, seen, keep_best=True)), seen[1])

    @pytest.mark.parametrize("steps", [1, 3, 5])
    def test_a_resumed_training_ends_with_the_same(self, steps: int, tmp_path: Path) -> None:
        whole = Fit(Regression(0.3))
        expected = trained(whole, self.averaged(whole))
        fit = Fit(Regression(0.3))
        forward = fit.forward

        def dying(batch: Batch) -> Any:
            if len(fit.before) == steps:
                raise KeyError
            return forward(batch)

        fit.forward = dying  # type: ignore[method-assign]
        settings: dict[str, Any] = {"directory": tmp_path, "save_every": Interval(steps=1)}
        with pytest.raises(KeyError):
            trained(fit, self.averaged(fit), **settings)
        again = Fit(Regression(0.3))
        left = [0.5, 0.9, 0.7][steps // 2 :]
        after = trained(again, self.averaged(again, validate=scored(again, left)), resume=True, **settings)
        assert same(after, expected)


def share(rank: int, world: int, folder: str) -> dict[str, Tensor]:
    """A training of one of `world` processes with all of it; each process has its share of a batch."""
    if world > 1:
        as_launched(rank, world)
    fit = Fit(Regression().double())
    inputs = torch.randn(24, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    data = [
        Batch(whole.tensor_split(world)[rank], total=len(whole)) for whole in torch.split(inputs, [8, 6, 10])
    ]
    scores = [0.5, 0.4, 0.3 + rank, 0.2, 0.1]  # in the second process it would go on
    loop = stage(
        fit,
        data,
        epochs=5,
        optimizer=SGD(lr=0.05),
        max_steps=11,
        patience=Patience(2),
        averaging=lambda: Averaging(fit.model, 0.5),
        validate=scored(fit, scores),
    )
    return trained(fit, loop, directory=Path(folder))


def test_two_processes_end_as_one_does(tmp_path: Path) -> None:
    alone = share(0, 1, str(tmp_path / "one"))
    (ranks,) = run_in_two_processes(
        [(share, (str(tmp_path / "two"),))], [Path(__file__).parent, Path(__file__).parents[1]]
    )
    for found in ranks:
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
    assert [line["step"] for line in lines_of(tmp_path / "two")] == [3, 6, 9]


@pytest.mark.skipif(torch.cuda.is_available(), reason="float16 is for CUDA")
def test_float16_is_refused_on_a_cpu() -> None:
    message = "^precision='fp16' needs a CUDA device, and this training is on cpu; say bf16, fp32 or auto$"
    with pytest.raises(LimbeckError, match=message):
        Trainer(device="cpu", precision="fp16", display=False)
