from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from limbeck.errors import LimbeckError
from limbeck.methods import Losses, Term
from limbeck.outputs import Batch
from limbeck.training.choices import Choices
from limbeck.training.trials import Trials, check_compiler

torch.set_num_threads(1)

PLAIN = Choices("fp32")
BATCH = Batch(torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1)))


class Net(nn.Module):
    """A convolution, batch norm, dropout and, where asked, a view that takes contiguous maps alone."""

    def __init__(self, views: bool = False) -> None:
        super().__init__()
        self.views, self.calls = views, 0
        self.fails: Exception | None = None
        self.conv, self.norm, self.dropout = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.classifier = nn.Linear(64, 2)

    def forward(self, batch: Batch) -> Losses:
        self.calls += 1
        if self.fails is not None:
            raise self.fails
        assert isinstance(batch.inputs, Tensor)
        maps = self.dropout(self.norm(self.conv(batch.inputs)))
        rows = maps.view(len(maps), -1) if self.views else maps.flatten(1)
        return Losses({"sum": Term(self.classifier(rows).square().sum())})


class Clock:
    """Time passes by what a step is said to cost, and by nothing else."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, eager: float, compilation: float, then: float
    ) -> None:
        self.now, self.compiled, self.first = 0.0, False, True
        self.closed = 0
        step = Trials._step

        def spend(this: Trials, choices: Choices) -> None:
            step(this, choices)
            self.now += eager if not self.compiled else compilation if self.first else then
            self.first = self.first and not self.compiled

        monkeypatch.setattr(Trials, "_step", spend)
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    @contextmanager
    def context(self) -> Iterator[None]:
        self.compiled = True
        yield
        self.compiled = False
        self.closed += 1


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


class TestMemoryFormat:
    def test_a_convolutional_network_takes_channels_last(self) -> None:
        notes: list[str] = []
        assert (
            Trials(Net(), BATCH, notes.append).memory_format(PLAIN, "auto").memory_format == "channels_last"
        )
        assert notes == []

    def test_one_that_cannot_keeps_its_format_and_says_so_once(self) -> None:
        notes: list[str] = []
        assert Trials(Net(views=True), BATCH, notes.append).memory_format(PLAIN, "auto") == PLAIN
        assert len(notes) == 1
        assert notes[0].startswith(
            "the networks cannot take channels-last images: view size is not compatible"
        )
        assert notes[0].endswith("; they get them as they are")

    def test_what_would_corrupt_memory_is_not_even_tried(self) -> None:
        notes: list[str] = []
        net = Net()
        net.conv = nn.Conv2d(3, 4, 1, stride=2)
        assert Trials(net, BATCH, notes.append).memory_format(PLAIN, "auto") == PLAIN
        assert net.calls == 0
        assert len(notes) == 1
        assert "a 1x1 convolution with a stride of 2 and 3 channels corrupts memory" in notes[0]
        with pytest.raises(LimbeckError, match=r"memory_format=channels_last: .* corrupts memory"):
            Trials(net, BATCH, print).memory_format(PLAIN, "channels_last")

    def test_one_that_cannot_though_it_should_is_refused(self) -> None:
        with pytest.raises(LimbeckError, match=r"memory_format=channels_last: the networks cannot take"):
            Trials(Net(views=True), BATCH, print).memory_format(PLAIN, "channels_last")

    @pytest.mark.parametrize("asked", ["auto", "contiguous"])
    def test_nothing_is_tried_where_nothing_is_gained_or_asked(self, asked: Any) -> None:
        net = Net()
        batch = BATCH if asked == "contiguous" else Batch(torch.rand(4, 1, 6, 6))
        assert Trials(net, batch, print).memory_format(PLAIN, asked) == PLAIN
        assert net.calls == 0

    @pytest.mark.parametrize("asked", ["auto", "channels_last"])
    def test_too_little_memory_is_no_answer(self, asked: Any) -> None:
        net = Net()
        net.fails = torch.OutOfMemoryError("CUDA out of memory")
        with pytest.raises(torch.OutOfMemoryError):
            Trials(net, BATCH, print).memory_format(PLAIN, asked)

    def test_what_fails_in_either_format_is_left_for_training_to_show(self) -> None:
        net, notes = Net(), list[str]()
        net.fails = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        assert Trials(net, BATCH, notes.append).memory_format(PLAIN, "auto") == PLAIN
        asked = Trials(net, BATCH, notes.append).memory_format(PLAIN, "channels_last")
        assert asked.memory_format == "channels_last"
        assert notes == []

    def test_processes_choose_alike(self) -> None:
        notes: list[str] = []
        failed = iter([0.5, 0.0])  # of two, one cannot take the format; both can do without
        trials = Trials(Net(), BATCH, notes.append, average=lambda own: next(failed))
        assert trials.memory_format(PLAIN, "auto") == PLAIN
        assert notes == [
            "the networks cannot take channels-last images: another process failed; they get them as they are"
        ]


def test_a_trial_leaves_no_trace() -> None:
    net = Net()
    net.classifier.bias.grad = torch.tensor([1.0, 2.0])
    before, random = state(net), torch.get_rng_state()
    Trials(net, BATCH, print).memory_format(PLAIN, "auto")
    assert net.calls == 1
    after = state(net)
    assert all(torch.equal(after[name], value) for name, value in before.items()), "batch norm's too"
    assert torch.equal(torch.get_rng_state(), random)
    assert net.classifier.bias.grad.tolist() == [1.0, 2.0]
    assert net.conv.weight.grad is None
    net(BATCH)
    assert not torch.equal(state(net)["norm.running_mean"], before["norm.running_mean"]), (
        "a forward would have left one"
    )


class TestCompile:
    def compile(self, clock: Clock, asked: Any, left: int, **changes: Any) -> tuple[Choices, ExitStack]:
        stack = ExitStack()
        settings = {"net": Net(), "note": print, "average": float, **changes}
        trial = Trials(settings["net"], BATCH, settings["note"], settings["average"])
        choices = trial.compile(PLAIN, asked, clock.context(), stack, left)
        return choices, stack

    @pytest.mark.parametrize(
        ("eager", "compilation", "then", "left", "kept"),
        [
            (1.0, 20.0, 0.5, 100, True),  # 70 s against 100
            (1.0, 60.0, 0.5, 100, False),  # 110 against 100
            (1.0, 20.0, 1.1, 1000, False),
            (0.1, 30.0, 0.05, 599, False),  # under a minute: not tried
            (0.1, 30.1, 0.05, 601, False),  # 60.15 against 60.1
            (0.1, 29.0, 0.05, 601, True),
        ],
    )
    def test_auto_takes_what_is_over_sooner(
        self, eager: float, compilation: float, then: float, left: int, kept: bool, monkeypatch: Any
    ) -> None:
        clock = Clock(monkeypatch, eager, compilation, then)
        choices, stack = self.compile(clock, "auto", left)
        assert choices.compile is kept
        assert clock.compiled is kept, "compiled as long as the stage lasts"
        stack.close()
        assert not clock.compiled
        assert clock.closed == (0 if left * eager < 60 else 1)

    def test_what_is_asked_for_is_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch, 0.001, 100.0, 1.0)
        assert self.compile(clock, True, 1)[0] == Choices("fp32", "contiguous", compile=True)
        assert self.compile(clock, False, 10**6)[0] == PLAIN

    def test_processes_choose_alike(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch, 1.0, 20.0, 0.5)
        averages = iter([0, 1.0, 0, 20.0, 1.5])  # failures, an eager step; failures, compilation, a step
        assert self.compile(clock, "auto", 100, average=lambda own: next(averages))[0] == PLAIN
        assert not clock.compiled
        notes: list[str] = []
        averages = iter([0, 1.0, 0.5, 20.0])
        choices, _ = self.compile(clock, "auto", 100, average=lambda own: next(averages), note=notes.append)
        assert choices == PLAIN
        assert notes == ["the networks cannot be compiled here and run as they are: another process failed"]

    def test_without_a_compiler_auto_goes_on_and_true_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(monkeypatch, 1.0, 1.0, 1.0)
        step = Trials._step

        def fail(this: Trials, choices: Choices) -> None:
            if clock.compiled:
                raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nand much more")
            step(this, choices)

        monkeypatch.setattr(Trials, "_step", fail)
        notes: list[str] = []
        reason = "InvalidCxxCompiler: No working C++ compiler found"
        assert self.compile(clock, "auto", 100, note=notes.append)[0] == PLAIN
        assert notes == [f"the networks cannot be compiled here and run as they are: {reason}"]
        assert not clock.compiled
        with pytest.raises(
            LimbeckError, match=f"compile=true: .* cannot be compiled here: {re.escape(reason)}$"
        ):
            self.compile(clock, True, 100)

    def test_networks_that_cannot_be_tried_run_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with reentrant checkpoints, which autograd.grad refuses."""

        class Checkpointed(Net):
            def forward(self, batch: Batch) -> Losses:
                assert isinstance(batch.inputs, Tensor)
                maps = checkpoint(self.norm, self.conv(batch.inputs), use_reentrant=True)
                return Losses({"sum": Term(maps.square().sum())})

        clock, notes = Clock(monkeypatch, 1.0, 20.0, 0.5), list[str]()
        choices, _ = self.compile(clock, "auto", 100, net=Checkpointed(), note=notes.append)
        assert choices == PLAIN
        assert len(notes) == 1
        assert notes[0].startswith("compile=auto cannot try the networks, which run as they are: ")
        assert not clock.closed

    def test_what_is_written_over_in_place_shows_before_anything_is_compiled(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock, net = Clock(monkeypatch, 1.0, 20.0, 0.5), Net()
        net.fails = LimbeckError("Net overwrites 'norm' in place in this mode")
        for asked in ("auto", True):
            with pytest.raises(LimbeckError, match=r"^Net overwrites 'norm' in place"):
                self.compile(clock, asked, 100, net=net)
        assert not clock.closed

    def test_what_the_compiler_lacks_is_known_beforehand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(function: Any) -> Any:
            raise RuntimeError("Cannot find a working triton installation.")

        monkeypatch.setattr(torch, "compile", fail)
        with pytest.raises(LimbeckError, match=r"^compile=true: nothing can be compiled here: Cannot find a"):
            check_compiler(torch.device("cpu"))
