"""What every method must satisfy; a method added to the table is tested without a line here.

A method that its paper defines otherwise is named in an opt-out below, with the place in the paper.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from method_setting import ALL, CLASSES, SAMPLES, make_setting, objective_of
from phase_runs import Killed, run_to_the_end
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, Trainer
from limbeck.intervals import Interval
from limbeck.methods import Losses
from limbeck.methods.base import inner_first
from limbeck.objective import resolved
from limbeck.optimization import SGD, Cosine
from limbeck.outputs import Progress
from limbeck.training import phase_loops
from scripted_loop import ScriptedLoop
from two_processes import run_in_two_processes

every_method = pytest.mark.parametrize("name", sorted(ALL))

SPREADS_OVER_CLASSES = {
    "multilevel": "the exits have fresh classifiers with as many classes, so their weights are others",
    "label_smoothing": "section 7: the label's share goes to all classes alike, so their number counts",
    "tfkd": "the virtual teacher gives every class but the label's the same share",
    "dml": "the peers are fresh networks with as many classes, so their weights are others",
    "dual": "the weight of a sample is over log C, and the peer is a fresh network",
    "ekd": "the guided classifiers are fresh layers with as many classes",
    "one": "the other branches end in fresh classifiers with as many classes",
    "dist": "section 4: the mean correlation over all classes, and that of a sample across them",
    "sftn": "the branches are fresh networks with as many classes, so their weights are others",
    "srrl": "the mean squared difference of the logits is over all of them",
    "ckd": "the mean squared difference of the logits is over all of them, as in the authors' code",
    "r2kd": "the mean cosine over all classes, and the ranks of all",
    "mixkd": "the mean squared difference of the logits is over all of them",
    "logit_standardization": "Algorithm 1: mean and deviation are those of all logits",
}
"""Methods whose value depends on classes that neither network believes in."""

COMPARES_SAMPLES: dict[str, str] = {
    "multilevel": "the adapters of the exits have batch norms",
    "cc": "neighbors in the batch",
    "contrastive": "the negatives of a query are the documents of the batch",
    "cosent": "all pairs of the pairs of the batch",
    "embeddistill": "a query is compared with the documents of the batch",
    "listwise": "a query is compared with the documents of the batch",
    "margin_mse": "a query is compared with its negatives, which stand behind it",
    "matryoshka": "it wraps contrastive",
    "ceskd": "a sample's teacher is chosen by how hard it is among those of its batch",
    "ckd": "the tuples are drawn among the samples of the batch",
    "pkt": "section 3: a sample's probabilities are over all others of the batch",
    "rkd": "section 3.2: all pairs and triples of the batch",
    "crd": "section 3.4: the vectors move at each forward, and the first batch settles Z",
    "ikd": "part of the batch is held out for the exam, which the copy learns from",
    "mixkd": "a sample is mixed with another of its batch",
    "mixup": "likewise",
    "cutmix": "likewise",
    "r2kd": "the cosine of a class is across the samples, which are mixed with others of the batch",
    "rrd": "the keys of a sample are those of its batch first",
    "ab": "its phase trains the CRD benchmark's regressors, which end in batch norm",
    "ft": "the translator has batch norms",
    "ofd": "the connectors end in batch norm",
    "dist": "section 4: the correlation across the samples of the batch",
    "icd": "the negatives of a sample are the others of its batch",
    "infoflow": "a sample's probabilities are over all of the batch",
    "sp": "section 3: the similarities of all pairs of the batch",
    "fitnet": "the CRD benchmark's regressor ends in batch norm",
    "ekd": "the guided modules have batch norms",
    "afd_attention": "queries and keys have batch norms",
    "rtk": "likewise",
    "one": "section 3.2: the gate has a batch norm",
    "reviewkd": "the fusions have batch norms",
    "sftn": "the adapters have batch norms",
    "simkd": "the projector has batch norms",
    "srrl": "the connector ends in batch norm",
    "sskd": "a turned image is compared with all images of the batch",
    "bss": "the samples to move are chosen from the batch, and the mean is over them",
}
"""Methods whose loss is over pairs of samples of the batch, so that splitting the batch changes it."""

NEEDS_TWO_SAMPLES: dict[str, str] = {
    "cc": "one sample has no neighbor",
    **dict.fromkeys(
        ("contrastive", "embeddistill", "listwise", "margin_mse", "matryoshka"),
        "one text is a query without a document",
    ),
    "cosent": "one text is no pair",
    "ckd": "one sample makes no pair",
    "r2kd": "one sample has nothing to be mixed with",
    "ikd": "one sample leaves none to hold out for the exam",
    "pkt": "one sample is its only neighbor whatever the network",
    "rkd": "one sample has no distance to others",
    "dist": "one sample has no correlation with others",
    "icd": "one sample has no negatives",
    "infoflow": "one sample is its only neighbor whatever the network",
    "sp": "one sample is like itself whatever the network",
    "reviewkd": "the embedding of one sample has no batch statistics",
    "srrl": "likewise",
    "afd_attention": "the means of one sample's maps have no batch statistics",
    "rtk": "likewise",
    "one": "what the gate sees of one sample has no batch statistics",
    "sskd": "one sample has no other that a turned image could be made of",
}
"""Methods that are not defined for a batch of one."""

NEEDS_SQUARE_IMAGES: dict[str, str] = {
    "sskd": "the images are turned by quarters",
}
"""Methods that refuse images of unequal sides."""

SHIPS_ANOTHER_NETWORK: dict[str, str] = {
    "simkd": "section 3: the projector and the teacher's classifier are part of what is shipped",
}
"""Methods whose student does not answer by itself."""


def batch_of(inputs: Tensor, targets: Tensor, start: int = 0, stop: int = SAMPLES) -> Batch:
    return Batch(
        inputs[start:stop],
        targets[start:stop],
        index=torch.arange(start, stop),
        view=torch.zeros(stop - start, dtype=torch.int64),
        progress=Progress(3, 1, 0.5),
    )


def prepared(distiller: Distiller, inputs: Tensor, targets: Tensor, *share: int) -> Distiller:
    batch = batch_of(inputs, targets, *share)
    limbeck.prepare(distiller, [batch], display=False, device="cpu", precision="fp32")
    distiller.optimizer(SGD())  # a gradient rule's backward asks for one
    return distiller


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@every_method
def test_the_teacher_is_never_changed(name: str) -> None:
    setting = make_setting(objective_of(name), dropout=0.5)
    distiller = setting.distiller(objective_of(name))
    if distiller.teacher is None:
        pytest.skip("no teacher")
    networks = {name: each.network for name, each in distiller.teachers.items()}
    teacher = nn.ModuleDict({name: each for name, each in networks.items() if each is not None})
    before = state_of(teacher)
    flags = [parameter.requires_grad for parameter in teacher.parameters()]
    prepared(distiller, setting.inputs, setting.targets)
    optimizer = distiller.optimizer(SGD())
    distiller.train()
    distiller(batch_of(setting.inputs, setting.targets)).backward()
    optimizer.step()
    assert same(before, state_of(teacher))
    assert not any(module.training for network in teacher.children() for module in network.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert flags == [parameter.requires_grad for parameter in teacher.parameters()]
    learning = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not learning & {id(parameter) for parameter in teacher.parameters()}


@every_method
def test_everything_that_learns_is_in_the_optimizer_moves_and_is_saved(name: str) -> None:
    setting = make_setting(objective_of(name))
    distiller = prepared(setting.distiller(objective_of(name)), setting.inputs, setting.targets)
    optimizer = distiller.optimizer(SGD())
    learning = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    should = {id(parameter) for parameter in distiller.parameters() if parameter.requires_grad}
    assert learning == should
    distiller.train()
    distiller(batch_of(setting.inputs, setting.targets)).backward()
    reached = {id(parameter) for parameter in distiller.parameters() if parameter.grad is not None}
    assert reached <= should

    saved = state_of(distiller)
    for parameter in distiller.parameters():
        assert any(
            parameter.shape == tensor.shape and torch.equal(parameter, tensor) for tensor in saved.values()
        )
    for tensor in [*distiller.double().parameters(), *distiller.buffers()]:
        assert tensor.dtype != torch.float32
    if distiller.teacher is not None:
        assert distiller.teacher.network is not None
        assert all(parameter.dtype == torch.float64 for parameter in distiller.teacher.network.parameters())

    again = setting.distiller(objective_of(name))
    again.load_state_dict(saved)
    distiller.float()
    for eager in (distiller.eval(), again.eval()):
        eager.zero_grad()
    sample = batch_of(setting.inputs, setting.targets)
    assert figures(distiller(sample)) == pytest.approx(figures(again(sample)), rel=1e-5)


@every_method
def test_a_bare_loop_and_the_trainer_give_the_same_weights(name: str) -> None:
    setting = make_setting(objective_of(name))
    batches = [
        batch_of(setting.inputs, setting.targets, 0, 8),
        batch_of(setting.inputs, setting.targets, 8, 16),
    ]
    rule, schedule = SGD(lr=0.02), Cosine()

    bare = prepared(setting.distiller(objective_of(name)), setting.inputs, setting.targets)
    optimizer = bare.optimizer(rule)
    rates = schedule(optimizer, 2, 2)
    bare.train()
    for epoch in range(2):
        for position, batch in enumerate(batches):
            step = 2 * epoch + position
            bare.progress(step, epoch, step / 4)
            bare(batch.inputs, batch.targets, index=batch.index, view=batch.view).backward()
            optimizer.step()
            optimizer.zero_grad()
            rates.step()

    trained = setting.distiller(objective_of(name))
    modes: list[bool] = []
    train(trained, batches, rule, schedule, modes, first=[batch_of(setting.inputs, setting.targets)])
    assert same(state_of(bare), state_of(trained))
    assert len(modes) >= 4, "a forward for each step, and one more for each view"
    assert all(modes), "the student trains in training mode in every epoch"


def train(
    distiller: Distiller,
    batches: list[Batch],
    rule: SGD,
    schedule: Cosine,
    modes: list[bool],
    *,
    first: list[Batch],
    **settings: Any,
) -> None:
    from contextlib import contextmanager

    @contextmanager
    def opened() -> Any:
        handle = distiller.student.register_forward_pre_hook(
            lambda module, args: modes.append(module.training)
        )
        yield distiller, distiller.optimizer(rule)
        handle.remove()

    def validate() -> dict[str, float]:
        distiller.student.eval()  # as an evaluation leaves it at its worst
        return {"top1": 0.5}

    stage = ScriptedLoop(
        "training", opened, lambda epoch: [strip(batch) for batch in batches], 2, schedule, validate
    )
    stages = [*phase_loops(distiller, lambda batch_size: lambda epoch: first), stage]
    Trainer(display=False, device="cpu", precision="fp32", **settings).fit(distiller, stages)


@every_method
def test_a_training_that_is_killed_within_an_epoch_ends_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, given = objective_of(name), list[int]()
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "of the calm one"))
    calm = run_to_the_end(objective, tmp_path / "calm", given_in_all=given)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "of the other"))
    saved: dict[str, Any] = {"folder": tmp_path / "killed", "save_every": Interval(steps=1)}
    with pytest.raises(Killed):
        run_to_the_end(objective, killed_after=given[0] - 1, **saved)  # within the last epoch
    found = torch.load(tmp_path / "killed" / "checkpoints" / "last.pt")
    assert found["within"]["position"] == 1
    resumed = run_to_the_end(objective, resume=True, **saved)
    assert same(calm, resumed)
    lines = [
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / run / "metrics.jsonl").open()]
        for run in ("calm", "killed")
    ]
    assert lines[0] == lines[1]


def strip(batch: Batch) -> Batch:
    return Batch(batch.inputs, batch.targets, batch.index, batch.view)


@every_method
@pytest.mark.parametrize("kind", ["extreme", "non-square", "bfloat16", "one sample"])
def test_terms_and_gradients_are_finite(name: str, kind: str) -> None:
    if kind == "one sample" and name in NEEDS_TWO_SAMPLES:
        pytest.skip(NEEDS_TWO_SAMPLES[name])
    if kind == "non-square" and name in NEEDS_SQUARE_IMAGES:
        pytest.skip(NEEDS_SQUARE_IMAGES[name])
    setting = make_setting(objective_of(name), size=(5, 8) if kind == "non-square" else (6, 6))
    if kind == "extreme":
        with torch.no_grad():
            setting.student.classifier.weight.mul_(1e4)
            setting.teacher.classifier.weight.mul_(-1e4)
    distiller = prepared(setting.distiller(objective_of(name)), setting.inputs, setting.targets)
    distiller.train(kind != "one sample")  # batch norm needs more than one
    batch = batch_of(setting.inputs, setting.targets, 0, 1 if kind == "one sample" else SAMPLES)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
        losses: Losses = distiller(batch)
    losses.backward()
    for term, value in losses.items():
        assert value.isfinite(), f"{term} is {value}"
        assert value.dtype == torch.float32
    own = next(method for method in inner_first(distiller.objective) if method.name == name)
    if not any(own.wrapped):
        fits = {term for term in losses if losses.terms[term].kind == "task" and term.split(".")[0] == name}
        assert bool(fits) == (own.kind == "task" or own.fits_labels), "fits_labels says it of other kinds"
    for parameter in distiller.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@every_method
def test_the_value_does_not_depend_on_classes_that_nobody_believes_in(name: str) -> None:
    if name in SPREADS_OVER_CLASSES:
        pytest.skip(SPREADS_OVER_CLASSES[name])
    if ALL[name].rows in ("values", "vectors"):
        pytest.skip(f"it is about {ALL[name].rows}, not classes")
    values = []
    for extra in (0, 95):
        setting = make_setting(objective_of(name), dtype=torch.float64)
        for network in setting.networks:
            network.classifier = widened(network.classifier, extra)
        distiller = setting.distiller(objective_of(name))
        if distiller.phases or any(method.claims() for method in inner_first(distiller.objective)):
            pytest.skip("has parts of its own, whose sizes follow the classes")
        values.append(distiller(batch_of(setting.inputs, setting.targets)).total.item())
    if "remembered" in name:
        pytest.skip("an invented mean over all classes")
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def widened(classifier: nn.Linear, extra: int) -> nn.Linear:
    """The classifier with further classes of probability zero."""
    wide = nn.Linear(classifier.in_features, classifier.out_features + extra).to(classifier.weight)
    with torch.no_grad():
        wide.weight.zero_()[:CLASSES] = classifier.weight
        wide.bias.fill_(-1e3)[:CLASSES] = classifier.bias
    return wide


@every_method
def test_splitting_a_batch_does_not_change_the_gradient(name: str) -> None:
    if name in COMPARES_SAMPLES:
        pytest.skip(COMPARES_SAMPLES[name])
    weights = []
    for accumulation in (1, 2):
        setting = make_setting(objective_of(name), norm=False, dtype=torch.float64)
        distiller = setting.distiller(objective_of(name))
        batches = [
            batch_of(setting.inputs, setting.targets, 0, 7),
            batch_of(setting.inputs, setting.targets, 7, 16),
        ]
        first = [batch_of(setting.inputs, setting.targets)]
        train(distiller, batches, SGD(lr=0.1), Cosine(), [], first=first, accumulation=accumulation)
        weights.append(state_of(distiller))
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=1e-9, atol=1e-11, msg=key)


@pytest.mark.parametrize("name", sorted(COMPARES_SAMPLES))
def test_what_compares_samples_trains_in_pieces_of_a_batch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    objective, given = objective_of(name), list[int]()
    whole = run_to_the_end(objective, tmp_path / "whole")
    calm = run_to_the_end(objective, tmp_path / "calm", accumulation=2, given_in_all=given)
    assert all(each.isfinite().all() for each in calm.values() if each.is_floating_point())
    assert not same(calm, whole), "the samples of a piece are compared with each other alone"
    saved: dict[str, Any] = {
        "folder": tmp_path / "killed",
        "save_every": Interval(steps=1),
        "accumulation": 2,
    }
    with pytest.raises(Killed):
        run_to_the_end(objective, killed_after=given[0] - 1, **saved)
    assert same(calm, run_to_the_end(objective, resume=True, **saved))


def gradients_of_half(rank: int, world: int, name: str) -> dict[str, Any]:
    """In each of two processes, joined in the phases too: the gradient from half the batch, averaged by
    DistributedDataParallel."""
    local = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ |= {name: str(value) for name, value in local.items()} | {"ACCELERATE_USE_CPU": "true"}
    torch.manual_seed(0)
    setting = make_setting(objective_of(name), norm=False, dtype=torch.float64)
    distiller = setting.distiller(objective_of(name))
    share = rank * SAMPLES // world, (rank + 1) * SAMPLES // world
    prepared(distiller, setting.inputs, setting.targets, *share)
    wrapped = nn.parallel.DistributedDataParallel(distiller, find_unused_parameters=True)
    losses = wrapped(batch_of(setting.inputs, setting.targets, *share))
    losses.backward()
    gradients = {key: p.grad for key, p in distiller.named_parameters() if p.grad is not None}
    return {"gradients": gradients, "total": losses.total.item()}


@pytest.fixture(scope="module")
def halves() -> dict[str, list[dict[str, Any]]]:
    jobs = [(gradients_of_half, (name,)) for name in sorted(ALL)]
    results = run_in_two_processes(jobs, paths=[Path(__file__).parent, *map(Path, sys.path)])
    return dict(zip(sorted(ALL), results, strict=True))


@every_method
def test_two_processes_give_the_gradient_of_one(name: str, halves: dict[str, list[dict[str, Any]]]) -> None:
    setting = make_setting(objective_of(name), norm=False, dtype=torch.float64)
    distiller = prepared(setting.distiller(objective_of(name)), setting.inputs, setting.targets)
    losses = distiller(batch_of(setting.inputs, setting.targets))
    losses.backward()
    here = {key: p.grad for key, p in distiller.named_parameters() if p.grad is not None}
    for there in halves[name]:
        assert there["gradients"].keys() == here.keys()
        for key, gradient in here.items():
            torch.testing.assert_close(there["gradients"][key], gradient, rtol=1e-8, atol=1e-11, msg=key)
    assert sum(there["total"] for there in halves[name]) / 2 == pytest.approx(losses.total.item(), rel=1e-9)


@every_method
def test_two_distillers_in_one_process_do_not_touch_each_other(name: str) -> None:
    setting = make_setting(objective_of(name))
    batch = batch_of(setting.inputs, setting.targets)
    alone = prepared(setting.distiller(objective_of(name)), setting.inputs, setting.targets)
    optimizer = alone.optimizer(SGD())
    expected = [step(alone, optimizer, batch) for _ in range(2)]

    first = prepared(setting.distiller(objective_of(name)), setting.inputs, setting.targets)
    other = make_setting(objective_of(name), size=(4, 4))
    second = prepared(other.distiller(objective_of(name)), other.inputs, other.targets)
    optimizer, rival = first.optimizer(SGD()), second.optimizer(SGD(lr=0.9))
    found = []
    for _ in range(2):
        found.append(step(first, optimizer, batch))
        step(second, rival, batch_of(other.inputs, other.targets))
    assert found == expected
    assert same(state_of(first), state_of(alone))


def step(distiller: Distiller, optimizer: torch.optim.Optimizer, batch: Batch) -> dict[str, float]:
    distiller.train()
    losses = distiller(batch)
    losses.backward()
    optimizer.step()
    optimizer.zero_grad()
    return figures(losses)


def figures(losses: Losses) -> dict[str, float]:
    return {name: value.item() for name, value in losses.items()}


@every_method
def test_what_is_shipped_holds_nothing_but_the_student(name: str) -> None:
    setting = make_setting(objective_of(name))
    distiller = prepared(setting.distiller(objective_of(name)), setting.inputs, setting.targets)
    if name not in SHIPS_ANOTHER_NETWORK:
        assert distiller.deploy().state_dict().keys() == setting.student.state_dict().keys()
    assert not distiller.student._forward_hooks
    assert not distiller.student._forward_pre_hooks


@every_method
def test_the_objective_given_is_not_changed(name: str) -> None:
    setting = make_setting(objective_of(name))
    objective = limbeck.methods.Objective(
        [(1.0, copy.deepcopy(setting.distiller(objective_of(name)).objective))]
    )
    fresh = setting.distiller(str(objective)).objective
    before = str(objective), len(list(objective.parameters()))
    setting.distiller(objective_of(name))
    assert (str(objective), len(list(objective.parameters()))) == before
    assert str(fresh) == str(objective)


@every_method
def test_its_arguments_are_recorded(name: str) -> None:
    distiller = make_setting(objective_of(name)).distiller(objective_of(name))
    record = resolved(distiller.objective)
    assert json.loads(json.dumps(record)) == record
    assert f"'method': '{name}'" in str(record)


@every_method
def test_its_name_and_recipe_are_in_the_notation(name: str) -> None:
    method = ALL[name]
    assert method.name == name
    from limbeck.objective import parse

    assert name in [inner.name for inner in inner_first(parse(objective_of(name)))]
    assert str(parse(objective_of(name))) == objective_of(name)
    assert (sys.modules[method.__module__].__doc__ or "").strip()
    assert (method.__doc__ or "").strip()
