from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck import models
from limbeck.data import Loader, Source, from_tensors
from limbeck.errors import LimbeckError
from limbeck.evaluation.transfer import Setup, finetune, linear_probe
from limbeck.outputs import Inputs
from limbeck.seeds import seed_for
from limbeck.tasks import Classification
from limbeck.tasks.classification.meter import ClassificationMeter
from limbeck.teachers import CachedTeacher
from limbeck.training import DivergenceError, Trainer

ONCE = Setup(epochs=1, rates=(0.1,))


def trainer() -> Trainer:
    return Trainer(device="cpu", precision="fp32", display=False)


def rows(size: int = 90, seed: int = 0) -> Source:
    """Rows of 4 numbers in three classes that a line tells apart."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(size, 4, generator=generator)
    targets = (inputs[:, 0] * 2.999).long()
    held = inputs[:30].clone(), targets[:30].clone()
    return from_tensors(inputs, targets, validation=held, test=held, num_classes=3, name="rows")


def body(width: int = 6, classes: int = 5) -> nn.Module:
    """A network for these rows with batch norm and dropout; always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, classes)
        ).eval()


def whole(network: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, those that are not saved too."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class TestProbe:
    def test_it_is_plain_sgd_on_the_embedding(self) -> None:
        network, source = body(), rows()
        setup = Setup(epochs=4, rates=(0.1,), batch_size=32, seed=3)
        head = linear_probe(network, source, trainer(), setup).network.head

        with torch.random.fork_rng():
            torch.manual_seed(seed_for(3, "new head"))
            plain = nn.Linear(6, 3)
            nn.init.normal_(plain.weight, std=0.01)
            nn.init.zeros_(plain.bias)
        optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        loader = Loader(source.train, 32, views=source.views, seed=seed_for(3, "order"))
        for epoch in range(4):
            optimizer.param_groups[0]["lr"] = 0.1 * 0.1**epoch  # it drops at each quarter
            for batch in loader:
                assert isinstance(batch.inputs, Tensor)
                with torch.no_grad():
                    embedding = network[:-1](batch.inputs)  # type: ignore[index]
                loss = F.cross_entropy(plain(embedding), batch.targets)  # type: ignore[arg-type]
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        torch.testing.assert_close(head.weight, plain.weight)
        torch.testing.assert_close(head.bias, plain.bias)

    def test_rates_do_not_meet(self) -> None:
        """Tried side by side, each ends where it would have ended alone."""
        many = linear_probe(body(), rows(), trainer(), Setup(epochs=3, rates=(0.5, 0.1)))
        for lr in (0.5, 0.1):
            alone = linear_probe(body(), rows(), trainer(), Setup(epochs=3, rates=(lr,)))
            assert many.tried[lr] == alone.tried[lr]
            if many.lr == lr:
                assert torch.equal(many.network.head.weight, alone.network.head.weight)

    def test_a_separable_embedding_is_learned(self) -> None:
        found = linear_probe(body(width=64), rows(300), trainer(), Setup(epochs=40, rates=(1.0, 1e-9)))
        assert found.lr == 1.0
        assert found.test is not None
        assert found.test.value > 0.9
        assert found.test.samples == 30
        assert found.test.low is not None
        assert found.test.high is not None
        assert found.test.low < found.test.value < found.test.high or found.test.value == 1.0
        lost = found.tried[1e-9]
        assert lost is not None
        assert lost.value < 0.6

    def test_the_rate_is_chosen_on_validation(self) -> None:
        source = rows(300)
        assert source.test is not None
        wrong = replace(source, test=replace(source.test, targets=(source.test.targets + 1) % 3))
        found = linear_probe(body(width=64), wrong, trainer(), Setup(epochs=40, rates=(1e-9, 1.0)))
        assert found.lr == 1.0
        assert found.test is not None
        assert found.test.value < 0.1

    def test_seeds(self) -> None:
        state = torch.get_rng_state()
        first, again, other = (
            linear_probe(body(), rows(), trainer(), replace(ONCE, seed=seed)).network.head.weight
            for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), state)

    def test_with_few_views_the_network_is_asked_once_for_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: dict[int | None, int] = {}
        heads: dict[int | None, Tensor] = {}
        kept: list[int | None] = []

        class Cached(CachedTeacher):
            def __init__(self, *given: Any, views: int | None = None, **changes: Any) -> None:
                kept.append(views)
                super().__init__(*given, views=views, **changes)

        monkeypatch.setattr("limbeck.evaluation.transfer.CachedTeacher", Cached)
        for views in (None, 1):
            network = body()
            seen: list[int] = []
            network.register_forward_hook(lambda module, args, logits, seen=seen: seen.append(len(logits)))
            found = linear_probe(network, rows(), trainer(), Setup(epochs=5, rates=(0.1,), views=views))
            asked[views], heads[views] = sum(seen), found.network.head.weight
        assert kept == [1], "it knows how many to have at hand"
        assert asked[None] - asked[1] > 4 * 90 - 10, "four epochs of five are had from the cache"
        torch.testing.assert_close(heads[1], heads[None], rtol=0, atol=1e-3)  # they are kept in float16
        with pytest.raises(LimbeckError, match=r"so 2 of each sample cannot be drawn among"):
            linear_probe(body(), rows(), trainer(), replace(ONCE, views=2))

    @pytest.mark.parametrize("views", [None, 1])
    def test_the_network_that_comes_back_has_the_figures(self, views: int | None) -> None:
        source = rows()
        assert source.test is not None
        network = body()
        found = linear_probe(network, source, trainer(), Setup(epochs=3, rates=(1.0, 0.1), views=views))
        for split, figure in ((source.validation, found.tried[found.lr]), (source.test, found.test)):
            assert split is not None
            assert figure is not None
            inputs = split.samples.inputs  # type: ignore[attr-defined]
            with torch.no_grad():
                right = (found.network(inputs).argmax(1) == split.targets).double().mean()
                assert not any(module.training for module in found.network.modules())
                torch.testing.assert_close(
                    found.network(inputs),
                    found.network.head(network[:-1](inputs)),  # type: ignore[index]
                )
            assert figure.value == right.item()

    def test_rates_that_are_printed_alike_do_not_meet(self) -> None:
        near = (0.1, 0.1 + 1e-9)
        assert linear_probe(body(), rows(), trainer(), Setup(epochs=1, rates=near)).tried.keys() == {*near}

    def test_samples_without_a_label_are_left_out(self) -> None:
        source = rows()
        more = torch.cat([source.train.targets, torch.full((5,), -100)])
        inputs = torch.cat([source.train.samples.inputs, torch.full((5, 4), 1e6)])  # type: ignore[attr-defined]
        held = from_tensors(inputs, more, validation=None, test=(inputs[:90], more[:90]), num_classes=3)
        found = linear_probe(body(), held, trainer(), ONCE)
        assert found.network.head.weight.abs().max() < 10

    def test_the_embedding_can_be_named(self) -> None:
        found = linear_probe(body(), rows(), trainer(), ONCE, {"embedding": "0"})
        assert found.network.head.in_features == 6
        with pytest.raises(LimbeckError, match="unknown module of Sequential 'conv'"):
            linear_probe(body(), rows(), trainer(), ONCE, {"embedding": "conv"})


class TestFinetune:
    def test_all_weights_of_a_copy_learn(self) -> None:
        network, source = body(), rows()
        before = whole(network)
        found = finetune(network, source, trainer(), Setup(epochs=2, rates=(0.1,)))
        assert same(whole(network), before)
        assert not any(module.training for module in network.modules())
        after = whole(found.network.network)
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == before.keys() - {"4.weight", "4.bias"}, "its own classifier has no part in it"
        assert found.network.head.weight.abs().max() > 0.05

    @pytest.mark.parametrize("task", ["multilabel", "regression"])
    def test_it_serves_every_task(self, task: str) -> None:
        inputs = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
        targets = inputs[:, :2] * 50 if task == "regression" else (inputs[:, :2] > 0.5).long()
        source = from_tensors(inputs, targets, validation=0.3, task=task)
        found = finetune(body(), source, trainer(), Setup(epochs=10, rates=(0.05,)))
        tried = found.tried[0.05]
        assert tried is not None
        assert source.validation is not None
        with torch.no_grad():
            answers = found.network(source.validation.samples.inputs[source.validation.index])  # type: ignore[attr-defined]
        answers = answers if isinstance(answers, torch.Tensor) else answers.logits
        assert answers.shape == (18, 2)
        assert tried.value > 0

    def test_the_network_that_comes_back_has_the_figures(self) -> None:
        source = rows()
        assert source.test is not None
        found = finetune(body(), source, trainer(), Setup(epochs=3, rates=(0.5, 0.01)))
        assert not any(module.training for module in found.network.modules())
        assert found.test is not None
        with torch.no_grad():
            answers = found.network(source.test.samples.inputs).argmax(1)  # type: ignore[attr-defined]
        assert found.test.value == (answers == source.test.targets).double().mean().item()

    def test_a_rate_that_diverges_is_lost_and_no_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        loud = Trainer(device="cpu", precision="fp32")
        for rates in ((1e30, 0.1), (0.1, 1e30)):
            found = finetune(body(), rows(), loud, Setup(epochs=3, rates=rates))
            assert found.lr == 0.1
            assert list(found.tried) == list(rates)
            assert found.tried[1e30] is None
            assert found.tried[0.1] is not None
            assert "finetune lr=1e+30 diverged and counts as lost" in capsys.readouterr().err
        with pytest.raises(
            DivergenceError, match=r"became NaN or infinite at step \d+ of finetune lr=1e\+31"
        ):
            finetune(body(), rows(), trainer(), Setup(epochs=3, rates=(1e30, 1e31)))

    def test_it_learns_what_the_frozen_embedding_does_not_tell(self) -> None:
        source, network = rows(300), body(width=16)
        with torch.no_grad():
            network[0].weight[:, 0] = 0  # type: ignore[index]
        setup = Setup(epochs=20, rates=(0.05,))
        frozen, tuned = (
            learn(copy.deepcopy(network), source, trainer(), setup).test for learn in (linear_probe, finetune)
        )
        assert frozen is not None
        assert tuned is not None
        assert frozen.value < 0.7 < 0.85 < tuned.value

    def test_each_rate_starts_from_the_network(self) -> None:
        many = finetune(body(), rows(), trainer(), Setup(epochs=1, rates=(0.5, 0.01)))
        alone = finetune(body(), rows(), trainer(), Setup(epochs=1, rates=(0.01,)))
        assert many.tried[0.01] == alone.tried[0.01]

    @pytest.mark.parametrize(("samples", "accumulation"), [(65, 1), (67, 2)])
    def test_a_last_batch_too_small_is_left_out(self, samples: int, accumulation: int) -> None:
        """Batch norm refuses to train on one sample, and of 3 in two pieces one is alone."""
        pieces = Trainer(device="cpu", precision="fp32", display=False, accumulation=accumulation)
        assert finetune(body(), rows(samples), pieces, ONCE).test is not None


@pytest.mark.parametrize("learn", [linear_probe, finetune])
class TestRefusals:
    def test_nothing_to_choose_by(self, learn: Any) -> None:
        source = replace(rows(), validation=None)
        with pytest.raises(LimbeckError, match="rows has no validation split to choose the learning rate on"):
            learn(body(), source, trainer(), Setup(epochs=1, rates=(0.1, 0.2)))
        assert learn(body(), source, trainer(), ONCE).tried == {}

    def test_nothing_to_measure_on(self, learn: Any) -> None:
        source = replace(rows(), validation=None, test=None)
        with pytest.raises(LimbeckError, match="rows has neither a validation nor a test split"):
            learn(body(), source, trainer(), ONCE)

    def test_a_network_without_an_embedding(self, learn: Any) -> None:
        class Scale(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(3))

            def forward(self, x: Tensor) -> Tensor:
                return x.mean(1, keepdim=True) * self.scale

        with pytest.raises(LimbeckError, match="found no embedding in"):
            learn(Scale(), rows(), trainer(), ONCE)


class Surprise(Classification):
    """Classification that is measured by the negative log-likelihood, which is better when lower."""

    metrics = Classification.metrics[3:]

    def meter(self, *, quick: bool = False) -> ClassificationMeter:
        return ClassificationMeter()


class Pixels(Classification):
    name = "pixels"
    dense = True


class Amounts(Classification):
    name = "amounts"
    scores = "values"


class TestOtherTasks:
    @pytest.mark.parametrize("learn", [linear_probe, finetune])
    def test_the_primary_metric_chooses_whatever_its_direction(self, learn: Any) -> None:
        source = rows(300)
        source = replace(source, task=Surprise(source.task.names))
        found = learn(body(width=64), source, trainer(), Setup(epochs=20, rates=(1e-9, 0.5, 1e-8)))
        assert found.lr == 0.5
        assert found.tried[0.5].value == min(figure.value for figure in found.tried.values())
        with torch.no_grad():
            logits = found.network(source.test.samples.inputs)  # type: ignore[union-attr]
        wanted = F.cross_entropy(logits.double(), source.test.targets).item()  # type: ignore[union-attr]
        assert found.test.value == pytest.approx(wanted, rel=1e-6)
        assert (found.test.low, found.test.high, found.test.samples) == (None, None, 30)

    @pytest.mark.parametrize("learn", [linear_probe, finetune])
    def test_a_task_that_decides_on_positions_is_refused(self, learn: Any) -> None:
        source = rows()
        source = replace(source, task=Pixels(source.task.names))
        with pytest.raises(LimbeckError, match="and pixels decides on each position of it"):
            learn(body(), source, trainer(), ONCE)

    def test_a_probe_of_a_task_without_classes_is_refused(self) -> None:
        source = rows()
        source = replace(source, task=Amounts(source.task.names))
        with pytest.raises(LimbeckError, match="cross-entropy, and amounts has no classes; use finetune"):
            linear_probe(body(), source, trainer(), ONCE)


@pytest.mark.parametrize(("epochs", "rates"), [(0, (0.1,)), (1, ()), (1, (0.0,)), (1, (float("inf"),))])
def test_a_setup_that_trains_nothing_is_refused(epochs: int, rates: tuple[float, ...]) -> None:
    with pytest.raises(LimbeckError, match="an epoch or more and learning rates above 0"):
        Setup(epochs=epochs, rates=rates)


SMALL = {
    "lenet5": "lenet5",
    "cnn": "cnn(channels=[4, 8])",
    "vgg": "vgg8",
    "resnet": "resnet8",
    "wrn": "wrn_16_1",
    "dscnn": "dscnn",
    "mobilenetv2": "mobilenetv2",
    "shufflenetv1": "shufflenetv1",
    "shufflenetv2": "shufflenetv2",
    "mlp": "mlp(hidden=[8])",
    "textcnn": "textcnn",
    "transformer": "transformer",
}
"""A network of each entry of the table."""


def data_for(spec: str) -> Source:
    """Twelve random images or texts in four classes."""
    generator, targets = torch.Generator().manual_seed(0), torch.arange(12) % 4
    inputs: Inputs = torch.randint(0, 256, (12, 3, 32, 32), generator=generator, dtype=torch.uint8)
    if spec in ("textcnn", "transformer"):
        ids = torch.randint(1, 20, (12, 7), generator=generator)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    source = from_tensors(inputs, targets, validation=None, test=(inputs, targets))
    return replace(source, facts={"vocab_size": 20} if isinstance(inputs, Mapping) else {})


def test_every_network_of_the_table_is_probed() -> None:
    assert SMALL.keys() == models.MODELS.keys() - {
        "gpt",
        "unet",
        "deeplab",
        "deeplab_mobilenetv2",
        "lraspp",
        "lraspp_mobilenetv2",
        "fcos",
        "edsr",
        "fsrcnn",
    }  # they decide at positions


@pytest.mark.parametrize("spec", dict.fromkeys([*SMALL.values(), *models.NAMED]))
def test_a_probe_trains_a_head_and_nothing_else(spec: str) -> None:
    source = data_for(spec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.build(spec, example=source.example(), num_classes=9, facts=source.facts)
    if source.mean:
        models.normalize_inputs(network, models.Normalization(source.mean, source.std))
    network.eval()
    before = whole(network)
    flags = [parameter.requires_grad for parameter in network.parameters()]
    start, trained = (
        linear_probe(network, source, trainer(), Setup(epochs=1, rates=(lr,))).network.head
        for lr in (1e-30, 0.5)
    )
    assert same(whole(network), before)
    assert not any(module.training for module in network.modules())
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert all(parameter.grad is None for parameter in network.parameters())
    assert (trained.weight != start.weight).any(1).all(), "every class has learned"
