"""The optimizer of a run that names none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from huggingface_run import finished
from limbeck.config import RunConfig, TrainingConfig, make_config
from limbeck.optimization import SGD, Adam, Constant, Cosine
from limbeck.runs import Run
from limbeck.runs.arguments import RunArguments
from limbeck.runs.optimizers import note

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
FRESH = 'hf:config(model_type="bert")'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(tmp_path_factory.mktemp("optimizers"))


def setup(**given: Any) -> TrainingConfig:
    return RunArguments(**given).made().training


@pytest.mark.parametrize(
    ("student", "rate"),
    [
        ("hf:folder", 5e-5),
        ("hf:folder(max_length=8)", 5e-5),
        ("hf:folder(layers=2)", 2e-4),
        (FRESH, 5e-4),
        ("gpt(dim=8, depth=1, heads=2)", 3e-3),
    ],
)
def test_a_network_of_transformers_learns_by_adamw(student: str, rate: float) -> None:
    made = setup(student=student, epochs=4)
    assert made.optimizer == Adam(name="adamw", lr=rate)
    assert made.schedule == Cosine(warmup=0.4)


def test_so_does_one_that_starts_from_a_run_or_was_handed_over(run: Run) -> None:
    assert setup(student=str(run.path)).optimizer == Adam(name="adamw", lr=5e-5)
    assert setup(student=str(run.path / "student.safetensors")).optimizer == Adam(name="adamw", lr=5e-5)
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    network = transformers.BertForSequenceClassification(config)
    assert setup(student=network).optimizer == Adam(name="adamw", lr=5e-5)


def test_any_other_network_learns_as_before(tmp_path: Path) -> None:
    for student in ("mlp", "textcnn", nn.Linear(2, 2), "answers.csv", "<BertModel>", str(tmp_path)):
        assert setup(student=student) == TrainingConfig()
    assert setup(student="mlp", lr=0.1).optimizer == SGD(lr=0.1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"lr": 1e-3}, Adam(name="adamw", lr=1e-3)),
        (
            {"settings": {"training.optimizer.weight_decay": 0.1}},
            Adam(name="adamw", lr=5e-5, weight_decay=0.1),
        ),
        ({"settings": {"training.optimizer": "sgd"}}, SGD()),
        ({"settings": {"training.optimizer": "sgd"}, "lr": 0.1}, SGD(lr=0.1)),
        ({"settings": {"training.optimizer.momentum": 0.5}}, SGD(momentum=0.5)),
        ({"settings": {"training.optimizer": "adam"}}, Adam()),
    ],
)
def test_what_is_named_stays(given: dict[str, Any], expected: Any) -> None:
    made = setup(student="hf:folder", **given)
    assert made.optimizer == expected
    assert made.schedule == Cosine(warmup=3.0 if expected.name == "adamw" else 0.0)


def test_a_schedule_that_is_named_stays() -> None:
    assert setup(student=FRESH, settings={"training.schedule": "constant"}).schedule == Constant()
    assert setup(student=FRESH, settings={"training.schedule.warmup": 1}).schedule == Cosine(warmup=1)


def test_a_config_in_python_names_what_it_was_given() -> None:
    def of(training: TrainingConfig) -> TrainingConfig:
        return setup(config=RunConfig(student="hf:folder", training=training))

    assert of(TrainingConfig(epochs=5)).optimizer == Adam(name="adamw", lr=5e-5)
    assert of(TrainingConfig(epochs=5)).schedule == Cosine(warmup=0.5)
    assert of(TrainingConfig(optimizer=SGD(lr=0.2))) == TrainingConfig(optimizer=SGD(lr=0.2))


def test_a_config_that_was_written_down_is_what_it_is_read_back_as(tmp_path: Path) -> None:
    made = RunArguments(student=FRESH, epochs=3).made()
    file = tmp_path / "config.yaml"
    file.write_text(made.to_yaml())
    assert RunArguments().made(file) == make_config(file) == made
    old = made.model_copy(update={"training": TrainingConfig(epochs=3)})  # of a run before this default
    file.write_text(old.to_yaml())
    assert RunArguments().made(file).training.optimizer == SGD()


def test_the_usual_optimizer_is_said() -> None:
    assert note(RunArguments(student=FRESH, epochs=20).made()) == (
        "the network is a transformer and learns by adamw with a learning rate of 0.0005, which "
        "rises over the first 2 epochs; --lr sets another rate, and training.optimizer (--set "
        "training.optimizer=sgd) another optimizer"
    )
    assert note(RunArguments(student=FRESH, lr=1e-3).made()) is None
    assert note(RunArguments(student="mlp").made()) is None
