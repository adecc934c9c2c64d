from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from limbeck import models
from limbeck.models import Normalization, Rescaling, standalone

PIXELS = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
RGB = Normalization((0.5, 0.25, 0.125), (0.2, 0.4, 0.8))
UNITS = Rescaling((150.0, -3.0), (80.0, 0.5))


def small(*, normalized: bool = True, rescaled: bool = True) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.build("cnn(channels=[4, 8])", example=PIXELS, num_classes=2).eval()
    if normalized:
        models.normalize_inputs(network, RGB)
    return models.rescale_outputs(network, UNITS) if rescaled else network


def test_it_answers_as_the_network_does_and_leaves_it_alone() -> None:
    network, bare = small(), small(normalized=False, rescaled=False)
    made = standalone(network)
    assert torch.equal(made(PIXELS), network(PIXELS))
    assert models.normalization_of(network) == RGB
    assert models.rescaling_of(network) == UNITS
    assert models.normalization_of(made) is None
    assert models.rescaling_of(made) is None
    assert torch.equal(made.network(PIXELS), bare(PIXELS))
    mean, std = torch.tensor(RGB.mean).view(3, 1, 1), torch.tensor(RGB.std).view(3, 1, 1)
    by_hand = bare((PIXELS - mean) / std) * torch.tensor(UNITS.std) + torch.tensor(UNITS.mean)
    torch.testing.assert_close(made(PIXELS), by_hand)


def test_its_state_holds_everything() -> None:
    network = small()
    state = standalone(network).state_dict()
    keys = [f"network.{key}" for key in network.state_dict()]
    assert list(state) == ["mean", "std", "output_mean", "output_std", *keys]
    assert torch.equal(state["mean"], torch.tensor(RGB.mean))
    assert torch.equal(state["output_std"], torch.tensor(UNITS.std))
    assert standalone(small(normalized=False, rescaled=False)).state_dict().keys() == set(keys)


def test_whole_pixels_and_named_tensors() -> None:
    whole = (PIXELS * 255).round().to(torch.uint8)
    assert torch.equal(standalone(small())(whole), small()(whole))
    tokens = {
        "input_ids": torch.randint(0, 9, (3, 12)),
        "attention_mask": torch.ones(3, 12, dtype=torch.long),
    }
    reader = models.build(
        "textcnn(dim=8, channels=4)", example=tokens, num_classes=2, facts={"vocab_size": 9}
    )
    models.rescale_outputs(reader.eval(), UNITS)
    assert torch.equal(standalone(reader)(**tokens), reader(**tokens))


def test_it_keeps_the_mode_and_the_type() -> None:
    network = small().train().double()
    made = standalone(network)
    assert made.training
    assert made.network.training
    assert {tensor.dtype for tensor in made.state_dict().values()} == {torch.float64, torch.int64}
    assert not standalone(network.eval()).training


def test_it_is_traced_for_any_batch_without_a_warning() -> None:
    network = small()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(standalone(network), PIXELS)  # type: ignore[no-untyped-call]
    other = torch.rand(7, 3, 8, 8)
    torch.testing.assert_close(traced(other), network(other))


@pytest.mark.parametrize("strict", [False, True])
def test_it_is_exported(strict: bool) -> None:
    network = small()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(standalone(network), (PIXELS,), dynamic_shapes=shapes, strict=strict)
    other = torch.rand(7, 3, 8, 8)
    torch.testing.assert_close(program.module()(other), network(other))
    assert {"mean", "std", "output_mean", "output_std"} <= program.state_dict.keys()


def test_what_belongs_to_a_module_inside_stays_there() -> None:
    around = nn.Sequential(small(), nn.Softmax(1))
    made = standalone(around)
    assert made.mean is None
    assert models.normalization_of(made) == RGB
    assert torch.equal(made(PIXELS), around(PIXELS))


PLAIN = """
import sys
import torch
from safetensors.torch import load_file
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        for name, size in (("mean", 3), ("std", 3), ("output_mean", 2), ("output_std", 2)):
            self.register_buffer(name, torch.empty(size))

    def forward(self, inputs):
        return self.network((inputs - self.mean) / self.std) * self.output_std + self.output_mean

plain = Plain()
plain.load_state_dict(load_file(sys.argv[1]))
torch.save(plain(torch.load(sys.argv[2])), sys.argv[3])
assert "limbeck" not in sys.modules
"""


def test_plain_torch_gets_the_same_answers_from_its_state(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    models.rescale_outputs(models.normalize_inputs(network, RGB), UNITS)
    rows = torch.rand(6, 3)
    models.save(standalone(network), tmp_path / "made.safetensors", {})
    torch.save(rows, tmp_path / "rows.pt")
    files = (tmp_path / "made.safetensors", tmp_path / "rows.pt", tmp_path / "answers.pt")
    subprocess.run([sys.executable, "-c", PLAIN, *map(str, files)], check=True)
    answers: Tensor = torch.load(tmp_path / "answers.pt")
    torch.testing.assert_close(answers, network(rows))
