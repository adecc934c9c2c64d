from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import limbeck
from limbeck import data, models
from limbeck.errors import LimbeckError
from limbeck.runs.network_record import Card, describe, metadata_of
from limbeck.tasks import Classification

LABELS = torch.arange(20) % 2


@pytest.mark.parametrize(
    ("inputs", "dtypes", "preparation"),
    [
        (torch.rand(20, 3), "float32", "values as in the data"),
        (torch.rand(20, 3, 4, 4), "float32", "values as in the data"),
        (
            torch.zeros(20, 3, 4, 4, dtype=torch.uint8),
            "float32",
            "pixels in [0, 1] (8-bit values divided by 255)",
        ),
        (torch.zeros(20, 5, dtype=torch.int64), "int64", "values as in the data"),
        (
            {"ids": torch.ones(20, 5, dtype=torch.int64), "weight": torch.rand(20, 5)},
            {"ids": "int64", "weight": "float32"},
            "values as in the data",
        ),
    ],
)
def test_it_says_what_the_inputs_are(inputs: Any, dtypes: Any, preparation: str) -> None:
    source = data.from_tensors(inputs, LABELS)
    card = Card.model_validate_json(describe(nn.Identity(), None, source).model_dump_json())
    assert (card.input_dtype, card.preparation) == (dtypes, preparation)
    example, real = card.example, source.example(1)
    if isinstance(real, torch.Tensor):
        example, real = {"": example}, {"": real}  # type: ignore[dict-item]
    assert isinstance(example, dict)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in example.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in real.items()
    }


def test_one_of_before_there_were_tasks() -> None:
    old = '{"model": "mlp", "class_names": ["a", "b"], "input_shape": [3], "mean": null, "std": null}'
    card = Card.model_validate_json(old)
    assert card.task == {"name": "classification", "names": ["a", "b"]}
    assert card.made_for() == Classification(("a", "b"))
    assert card.names == ("a", "b")
    assert (card.normalization, card.rescaling, card.standalone) == (None, None, False)
    assert Card.model_validate_json(card.model_dump_json()) == card


def test_a_task_that_is_not_installed() -> None:
    card = Card(model="mlp", task={"name": "ranking", "names": ["a"]}, input_shape=(3,), mean=None, std=None)
    with pytest.raises(LimbeckError, match=r"unknown task 'ranking'.*; if a package brings it, install"):
        card.made_for()


def test_what_is_not_among_the_weights_is_said_in_plain_words() -> None:
    network = models.normalize_inputs(nn.Linear(3, 2), models.Normalization((0.5, 1.0, 2.0), (1.0, 2.0, 4.0)))
    source = data.from_tensors(torch.rand(20, 3), LABELS)
    assert json.loads(metadata_of(describe(network, None, source))["normalize_std"]) == [1.0, 2.0, 4.0]
    models.rescale_outputs(network, models.Rescaling((150.0, -3.0), (80.0, 0.5)))
    card = describe(network, None, source)
    kept = metadata_of(card)
    assert kept["before_use"] == (
        "The weights expect normalized inputs: give the network (inputs - normalize_mean) / normalize_std, "
        "by channel or feature, of inputs that are values as in the data. The answer in real units is "
        "output * output_std + output_mean, by output. limbeck.load(...) does so by itself."
    )
    assert json.loads(kept["normalize_mean"]) == [0.5, 1.0, 2.0]
    assert json.loads(kept["output_mean"]) == [150.0, -3.0]
    assert json.loads(kept["output_std"]) == [80.0, 0.5]
    assert card.rescaling == models.rescaling_of(network)
    assert metadata_of(card.model_copy(update={"standalone": True})).keys() == {"limbeck"}
    assert metadata_of(describe(nn.Identity(), None, source)).keys() == {"limbeck"}


def test_a_file_gives_the_network_back_with_its_scales(tmp_path: Path) -> None:
    source = data.from_tensors(torch.rand(20, 3), LABELS)
    network = models.build("mlp(hidden=[4])", example=source.example(), num_classes=2).eval()
    models.normalize_inputs(network, models.Normalization((0.5, 1.0, 2.0), (1.0, 2.0, 4.0)))
    models.rescale_outputs(network, models.Rescaling((150.0, -3.0), (80.0, 0.5)))
    card, rows = describe(network, "mlp(hidden=[4])", source), torch.rand(5, 3)
    models.save(network, tmp_path / "own.safetensors", metadata_of(card))
    made = card.model_copy(update={"standalone": True})
    models.save(models.standalone(network), tmp_path / "alone.safetensors", metadata_of(made))
    for name in ("own", "alone"):
        loaded = limbeck.load(tmp_path / f"{name}.safetensors")
        assert torch.equal(loaded(rows), network(rows))
        assert models.rescaling_of(loaded) == models.rescaling_of(network)
        assert loaded.state_dict().keys() == network.state_dict().keys()


def test_one_of_before_dtypes_were_written_down() -> None:
    old: dict[str, Any] = {"model": None, "class_names": ("a",), "mean": None, "std": None}
    assert Card(**old, input_shape=(3,)).example.dtype == torch.float32  # type: ignore[union-attr]
    assert Card(**old, input_shape={"ids": (3,)}).example["ids"].dtype == torch.int64  # type: ignore[index]
