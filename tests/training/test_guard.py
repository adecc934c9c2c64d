from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Fit, Regression, batches, same, squared_error, stage, weights
from torch import Tensor

from full_disk import full_disk
from limbeck.errors import LimbeckError
from limbeck.methods import Term
from limbeck.optimization import SGD, Adam, JointOptimizer, Lion, MakeOptimizer, Muon
from limbeck.outputs import Batch
from limbeck.training import Trainer
from limbeck.training.guard import DivergenceError, Guard, step_unless
from two_processes import as_launched, run_in_two_processes

CPU = torch.device("cpu")
DATA = batches(4, 4, 4, 4)


def joint(parameters: Any) -> JointOptimizer:
    first, *rest = parameters
    return JointOptimizer([SGD(lr=0.1)([first]), Adam(lr=0.1)(rest)])


def half_fused(parameters: Any) -> JointOptimizer:
    first, *rest = parameters
    return JointOptimizer([SGD(lr=0.1)([first]), torch.optim.RMSprop(rest, lr=0.1)])


OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd with momentum": SGD(lr=0.1, momentum=0.9),
    "nesterov": SGD(lr=0.1, momentum=0.9, nesterov=True),
    "adam": Adam(lr=0.1),
    "adamw": Adam(name="adamw", lr=0.1, weight_decay=0.1),
    "joint": joint,
    "not fused": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "not fused adam": partial(torch.optim.Adam, lr=0.1, weight_decay=0.1),
    "partly fused": half_fused,
}


def loss_turns_nan(model: Regression, batch: Batch) -> Tensor:
    return squared_error(model, batch)["mse"] * torch.nan


def loss_turns_infinite(model: Regression, batch: Batch) -> Tensor:
    return squared_error(model, batch)["mse"] + torch.inf


def gradient_turns_nan(model: Regression, batch: Batch) -> Tensor:
    """Zero, with an infinite slope of the root times a zero slope of the absolute value."""
    loss = (model.last.bias - model.last.bias.detach()).abs().sqrt().sum()
    assert loss.item() == 0
    return loss


def breaking(at: int, how: Callable[[Regression, Batch], Tensor]) -> Callable[..., dict[str, Tensor]]:
    """Terms of which the second goes wrong at the step of that number, and only there."""
    step = 0

    def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
        nonlocal step
        step += 1
        good = squared_error(model, batch)
        return {**good, "second": how(model, batch) if step == at else good["mse"] * 0.5}

    return terms


@pytest.mark.parametrize("how", [loss_turns_nan, loss_turns_infinite, gradient_turns_nan])
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_turns_nan_never_reaches_the_weights(
    optimizer: str, at: int, how: Callable[[Regression, Batch], Tensor]
) -> None:
    fit = Fit(Regression(), breaking(at, how))
    with pytest.raises(DivergenceError, match=f"at step {at} of training"):
        Trainer(display=False).fit(fit, [stage(fit, DATA, optimizer=OPTIMIZERS[optimizer])])
    assert len(fit.before) == at
    assert same(weights(fit.model), fit.before[at - 1])
    if at > 1:
        assert not same(fit.before[at - 1], fit.before[at - 2]), "the steps before it did learn"


def lion(parameters: Any) -> torch.optim.Optimizer:
    pytest.importorskip("lion_pytorch")
    return Lion(lr=0.1)(parameters)


def muon(parameters: Any) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch before 2.9 has no Muon")
    return Muon(lr=0.1)(parameters)


FIRST: dict[str, MakeOptimizer] = {
    **OPTIMIZERS,
    "lion": lion,
    "muon": muon,
    "not made by limbeck": partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
}


@pytest.mark.parametrize("optimizer", FIRST)
def test_a_first_step_that_is_blocked_is_as_if_it_had_not_been(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_of_anything(like: Tensor, **settings: Any) -> Tensor:
        return torch.full_like(like, 1e22, **settings)

    monkeypatch.setattr(torch, "empty_like", full_of_anything)
    ends = []
    for at, data in ((1, DATA), (0, DATA[1:])):
        fit = Fit(Regression(), breaking(at, gradient_turns_nan))
        made: list[torch.optim.Optimizer] = []

        def make(parameters: Any, made: list[torch.optim.Optimizer] = made) -> torch.optim.Optimizer:
            made.append(FIRST[optimizer](parameters))
            return made[0]

        trainer = Trainer(display=False, device="cpu", skip_bad_steps=at)
        trainer.fit(fit, [stage(fit, data, epochs=1, optimizer=make)])
        ends.append((fit.before[at:], weights(fit.model), state_of(made[0])))
    (skipped, *last), (never, *expected) = ends
    assert len(skipped) == len(never) == 3
    assert all(map(same, skipped, never)), "each step finds the same weights"
    assert all(map(same, last, expected))
    assert not same(never[0], never[1]), "and the first one learns"
    assert expected[1], "the states were compared"


def state_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All that an optimizer keeps, by number of the parameter and name."""
    return {
        f"{number} {name}": value
        for number, state in enumerate(optimizer.state.values())
        for name, value in state.items()
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_later_update_passes_before_it_is_noticed(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator, where the loop looks every 50 steps only."""
    monkeypatch.setattr(Guard, "check", lambda *args: None)
    fit = Fit(Regression(), breaking(3, loss_turns_nan))
    Trainer(display=False).fit(fit, [stage(fit, DATA, epochs=1, optimizer=OPTIMIZERS[optimizer])])
    assert len(fit.before) == 4
    assert same(fit.before[3], fit.before[2])
    assert same(weights(fit.model), fit.before[2])


def test_a_broken_piece_blocks_the_whole_batch() -> None:
    fit = Fit(Regression(), breaking(4, loss_turns_nan))
    with pytest.raises(DivergenceError, match="second became NaN or infinite at step 2"):
        Trainer(display=False, accumulation=2).fit(fit, [stage(fit, DATA)])
    assert same(weights(fit.model), fit.before[2])


def test_clipping_does_not_hide_it() -> None:
    fit = Fit(Regression(), breaking(2, gradient_turns_nan))
    with pytest.raises(DivergenceError, match="the gradient became NaN"):
        Trainer(display=False, clip=0.1).fit(fit, [stage(fit, DATA)])
    assert same(weights(fit.model), fit.before[1])


def test_the_message_names_step_term_stage_and_checkpoint(tmp_path: Path) -> None:
    fit = Fit(Regression(), breaking(7, loss_turns_nan))
    with pytest.raises(DivergenceError) as caught:
        Trainer(display=False, directory=tmp_path).fit(fit, [stage(fit, DATA, name="mgd.low")])
    assert str(caught.value) == (
        "second became NaN or infinite at step 7 of mgd.low; the weights were not updated by it. The last "
        f"good checkpoint is {tmp_path / 'checkpoints' / 'last.pt'}. A lower learning rate or clipping may "
        "help; training.skip_bad_steps (--skip-bad-steps) passes over a few such steps."
    )
    assert isinstance(caught.value, LimbeckError)
    fit.model.load_state_dict(
        {
            name.removeprefix("model."): value
            for name, value in torch.load(tmp_path / "checkpoints" / "last.pt")["root"].items()
        }
    )
    assert same(weights(fit.model), fit.before[4]), "the checkpoint is that of the first epoch's end"


def test_without_a_checkpoint_of_this_training_the_message_says_so(tmp_path: Path) -> None:
    good = Fit(Regression())
    Trainer(display=False, directory=tmp_path).fit(good, [stage(good, DATA)])
    fit = Fit(Regression(), breaking(1, loss_turns_nan))
    with pytest.raises(DivergenceError, match="No checkpoint had been written yet"):
        Trainer(display=False, directory=tmp_path).fit(fit, [stage(fit, DATA)])


def test_it_can_go_on_from_the_last_good_checkpoint(tmp_path: Path) -> None:
    undisturbed = Fit(Regression(), breaking(0, loss_turns_nan))
    Trainer(display=False).fit(undisturbed, [stage(undisturbed, DATA)])
    fit = Fit(Regression(), breaking(7, loss_turns_nan))
    with pytest.raises(DivergenceError):
        Trainer(display=False, directory=tmp_path).fit(fit, [stage(fit, DATA)])
    again = Fit(Regression(), breaking(0, loss_turns_nan))
    Trainer(display=False, directory=tmp_path).fit(again, [stage(again, DATA)], resume=True)
    assert same(weights(again.model), weights(undisturbed.model))


def test_terms_that_change_within_an_epoch_are_an_error() -> None:
    def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
        good = squared_error(model, batch)
        return good if len(fit.before) == 1 else {**good, "new": good["mse"]}

    fit = Fit(Regression(), terms)
    with pytest.raises(LimbeckError, match=r"the terms changed within an epoch, from .*'mse'\] to .*'new'\]"):
        Trainer(display=False).fit(fit, [stage(fit, DATA)])


def admit(guard: Guard, step: int, *values: float, gradient: float = 1.0) -> bool:
    names = ["ce", "kd"]
    return bool(guard.admit(step, names, torch.tensor(values), [torch.full((2,), gradient)]))


def test_the_first_bad_step_is_remembered_until_somebody_asks() -> None:
    guard = Guard(CPU)
    assert not admit(guard, 1, 0.5, 0.5)
    guard.check("training", "")
    assert admit(guard, 2, 0.5, torch.nan)
    assert admit(guard, 3, torch.nan, 0.5), "and blocks from then on"
    assert admit(guard, 4, 0.5, 0.5)
    with pytest.raises(DivergenceError, match=r"^kd became NaN or infinite at step 2 of training; "):
        guard.check("training", "")


def test_a_bad_first_step_is_remembered_too() -> None:
    guard = Guard(CPU)
    admit(guard, 1, torch.inf, 0.5)
    admit(guard, 2, 0.5, torch.inf)
    with pytest.raises(DivergenceError, match=r"^ce became NaN or infinite at step 1"):
        guard.check("training", "")


def test_a_guard_that_admitted_nothing_has_nothing_to_tell() -> None:
    Guard(CPU).check("training", "")


def test_half_precision_gradients_and_none_at_all_are_looked_at() -> None:
    guard = Guard(CPU)
    mixed = [torch.ones(2), torch.ones(3, dtype=torch.bfloat16), torch.ones(1, dtype=torch.float64)]
    assert not guard.admit(1, ["ce"], torch.ones(1), mixed)
    assert not guard.admit(2, ["ce"], torch.ones(1), [])
    assert guard.admit(3, ["ce"], torch.ones(1), [*mixed, torch.tensor([torch.nan])])


def test_a_fused_step_is_called_off_without_a_look_at_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = SGD(lr=1.0, momentum=0.0, weight_decay=0.0)([weight])
    weight.grad = torch.ones(2)
    looks: list[str] = []
    for name in ("item", "__bool__", "tolist"):
        monkeypatch.setattr(Tensor, name, lambda *args, name=name: looks.append(re.escape(name)))
    step_unless(torch.tensor(True), optimizer)
    monkeypatch.undo()
    assert looks == []
    assert torch.equal(weight, torch.ones(2))
    step_unless(torch.tensor(False), optimizer)
    assert torch.equal(weight, torch.zeros(2)), "and the next good one is taken"


def test_what_was_given_is_named_before_the_terms_it_spoils() -> None:
    guard = Guard(CPU)
    good, bad = torch.tensor(3.0), torch.tensor(torch.nan)
    spoiled = torch.tensor([torch.nan])
    assert not guard.admit(1, ["kd"], torch.ones(1), [], {"the inputs": good, "the logits": bad})
    guard.check("training", "")
    assert guard.admit(2, ["kd"], spoiled, [], {"the inputs": good, "the logits": bad})
    assert guard.admit(3, ["kd"], spoiled, [], {"the inputs": bad, "the logits": good}), "the first counts"
    with pytest.raises(
        DivergenceError,
        match=r"^the logits are NaN or infinite at step 2 of training, .* has no part in it\.$",
    ):
        guard.check("training", "")


def test_what_was_given_and_is_finite_is_not_blamed() -> None:
    guard = Guard(CPU)
    guard.admit(1, ["kd"], torch.tensor([torch.nan]), [], {"the logits": torch.tensor(3.0)})
    guard.admit(2, ["kd"], torch.ones(1), [], {"the logits": torch.tensor(torch.nan)})
    with pytest.raises(
        DivergenceError, match=r"^kd became NaN or infinite at step 1 .* A lower learning rate"
    ):
        guard.check("training", "")


class WithNorm(Fit):
    """A fit whose batch norm sees every batch, the bad one too."""

    def __init__(self, bad: int) -> None:
        super().__init__(Regression(), self.terms_of)
        self.norm, self.bad = torch.nn.BatchNorm1d(3), bad
        self.statistics: list[dict[str, Tensor]] = []

    def terms_of(self, model: Regression, batch: Batch) -> dict[str, Tensor]:
        self.statistics.append(weights(self.norm))
        assert isinstance(batch.inputs, Tensor)
        bad = len(self.seen) == self.bad
        normed = Batch(self.norm(batch.inputs * (100 if bad else 1)))
        return {"mse": squared_error(model, normed)["mse"] * (torch.nan if bad else 1)}


def indexed(*sizes: int, start: int = 100) -> list[Batch]:
    places = torch.split(torch.arange(start, start + sum(sizes)), list(sizes))
    return [replace(batch, index=place) for batch, place in zip(batches(*sizes), places, strict=True)]


def test_a_blocked_step_leaves_batch_norm_as_it_was_and_names_its_samples() -> None:
    fit = WithNorm(bad=2)
    with pytest.raises(DivergenceError, match=r"step 2 of training.* samples are 112, 113.*119 and 4 more"):
        Trainer(display=False, device="cpu").fit(fit, [stage(fit, indexed(12, 12, 12))])
    assert same(weights(fit.norm), fit.statistics[1])
    assert not same(fit.statistics[0], fit.statistics[1])


def test_as_many_bad_steps_as_allowed_are_passed_over(tmp_path: Path) -> None:
    fit = WithNorm(bad=2)
    Trainer(display=False, device="cpu", skip_bad_steps=1, directory=tmp_path).fit(
        fit, [stage(fit, indexed(4, 4, 4), epochs=1)]
    )
    assert same(fit.statistics[1], fit.statistics[2])
    assert same(fit.before[1], fit.before[2])
    assert not same(fit.before[2], weights(fit.model))
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["skipped_steps"] == 1
    assert 0 < line["terms"]["total"] < 100, "the mean is of the other two"
    again = WithNorm(bad=2)
    resumed = Trainer(display=False, device="cpu", skip_bad_steps=1, directory=tmp_path)
    loops = [stage(again, indexed(4, 4, 4), epochs=1), stage(again, indexed(4, 4), name="b")]
    with pytest.raises(DivergenceError, match="step 2 of b"):
        resumed.fit(again, loops, resume=True)


def infinite_on_one(rank: int, world: int, how: str, skip: int) -> dict[str, Any]:
    """The first of three batches has what is infinite on rank 1 alone, and the gradient is finite."""
    as_launched(rank, world)

    def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
        good = squared_error(model, batch)
        bad = len(fit.before) == 1 and rank == 1 and how == "term"
        return {**good, "second": good["mse"] * 0.5 + (torch.inf if bad else 0.0)}

    class Given(Fit):
        def forward(self, batch: Batch) -> Any:
            losses = super().forward(batch)
            bad = len(self.before) == 1 and rank == 1 and how == "given"
            spoiled = torch.tensor(torch.nan if bad else 1.0)
            return type(losses)(
                {**losses.terms, "third": Term(spoiled)}, given={"the teacher's logits": spoiled}
            )

    fit = Given(Regression(), terms)
    data = indexed(12, 4, 4, start=100 + 100 * rank)[1 if how == "never" else 0 :]
    trainer, said = Trainer(display=False, device="cpu", skip_bad_steps=skip), ""
    try:
        trainer.fit(fit, [stage(fit, data, epochs=1)])
    except DivergenceError as error:
        said = str(error)
    return {"before": fit.before, "after": weights(fit.model), "said": said}


def test_processes_block_the_same_step_and_say_whose_it_was() -> None:
    asked = [("term", 1), ("never", 0), ("term", 0), ("given", 0)]
    skipped, never, raised, given = run_in_two_processes(
        [(infinite_on_one, each) for each in asked], paths=[Path(__file__).parent]
    )
    for rank in (0, 1):
        assert same(skipped[rank]["before"][0], skipped[rank]["before"][1])
        assert same(skipped[rank]["after"], never[0]["after"])
        assert not same(never[rank]["after"], never[rank]["before"][0])
        assert same(raised[rank]["after"], raised[rank]["before"][0])
        samples = (
            "The samples of that process's share are 200, 201, 202, 203, 204, 205, 206, 207 and 4 more, by "
            "their index. No checkpoint had been written yet."
        )
        assert raised[rank]["said"].startswith(
            "second became NaN or infinite at step 1 of training in the process of rank 1; the weights were "
            f"not updated by it. {samples} A lower"
        )
        assert given[rank]["said"] == (
            "the teacher's logits are NaN or infinite at step 1 of training in the process of rank 1, so "
            f"there is nothing to learn from; the weights were not updated by it. {samples} "
            "The learning rate has no part in it."
        )


def test_a_gradient_alone_is_the_mean_of_all_processes() -> None:
    (found,) = run_in_two_processes([(gradient_on_one, ())], paths=[Path(__file__).parent])
    samples = "Its samples are 100, 101, 102, 103, 200, 201, 202, 203, by their index. "
    for said in found:
        assert said.startswith("the gradient became NaN or infinite at step 1 of training; ")
        assert samples in said


def gradient_on_one(rank: int, world: int) -> str:
    as_launched(rank, world)

    def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
        good = squared_error(model, batch)
        return {**good, "second": gradient_turns_nan(model, batch) if rank == 1 else good["mse"] * 0.5}

    fit = Fit(Regression(), terms)
    with pytest.raises(DivergenceError) as caught:
        Trainer(display=False, device="cpu").fit(fit, [stage(fit, indexed(4, start=100 + 100 * rank))])
    return str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 400 bytes"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_said_with_the_way_back(error: Exception) -> None:
    def terms(model: Regression, batch: Batch) -> dict[str, Tensor]:
        raise error

    fit = Fit(Regression(), terms)
    with pytest.raises(LimbeckError) as caught:
        Trainer(display=False, device="cpu").fit(fit, [stage(fit, indexed(4))])
    assert str(caught.value) == (
        "memory ran out at step 1 of training, on a batch of 4 samples; training.accumulation=2 works "
        "through it in smaller pieces. Its samples are 100, 101, 102, 103, by their index. No checkpoint had "
        "been written yet."
    )

    def validate() -> None:
        raise error

    fit = Fit(Regression())
    with pytest.raises(LimbeckError, match=r"^memory ran out in the validation after epoch 1 of training;"):
        Trainer(display=False, device="cpu").fit(fit, [stage(fit, batches(4), validate=validate)])


def test_a_full_disk_does_not_stop_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = Fit(Regression())
    Trainer(display=False, device="cpu").fit(fit, [stage(fit, batches(4, 4), epochs=3)])
    whole, fit = weights(fit.model), Fit(Regression())
    with full_disk(1000):
        Trainer(device="cpu", directory=tmp_path).fit(fit, [stage(fit, batches(4, 4), epochs=3)])
    assert same(weights(fit.model), whole)
    said = capsys.readouterr().err
    note = "last.pt' cannot be written: there is no room for it on the disk; training goes on without it"
    assert said.count(note) == 1
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == ["metrics.jsonl"], "nothing torn, and no litter"
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
