from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from declared import scramble
from torch import Tensor, nn

import limbeck
from limbeck.errors import LimbeckError
from limbeck.models import CIFAR100, build, normalization_of
from limbeck.models.checkpoints import BENCHMARK, _benchmark_shapes, fitting, load_weights, save_checkpoint

KEYS = Path(__file__).parents[2].parent / "shared" / "reference" / "checkpoint-keys.json"
THEIRS = {"MobileNetV2": "mobilenetv2", "ShuffleV1": "shufflenetv1", "ShuffleV2": "shufflenetv2"}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network(name: str, num_classes: int = 100, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return scramble(build(name, example=IMAGES, num_classes=num_classes))


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


@pytest.mark.parametrize("name", ["resnet8", "resnet8x4", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv2"])
def test_the_loaded_network_computes_the_same_logits(name: str, tmp_path: Path) -> None:
    theirs = network(name)
    path = saved(
        tmp_path / "t.pth", {"epoch": 240, "model": theirs.state_dict(), "best_acc": torch.tensor(75.0)}
    )
    for loaded in (limbeck.load_checkpoint(path, name), limbeck.load_checkpoint(str(path), name, 100)):
        assert type(loaded) is type(theirs)
        assert not any(module.training for module in loaded.modules())
        with torch.no_grad():
            assert torch.equal(loaded(IMAGES), theirs(IMAGES))


@pytest.mark.parametrize(
    "layout",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"model": prefixed("module.", state), "epoch": 3},
        lambda state: {"model": prefixed("module.student.", state) | prefixed("module.teacher.", state)},
        lambda state: {"model": prefixed("student.", state) | {"conv_reg.weight": torch.ones(2)}},
    ],
    ids=["plain", "state_dict", "data parallel", "distiller in data parallel", "distiller"],
)
def test_every_layout_is_read(layout: Any, tmp_path: Path) -> None:
    state = network("resnet8", 10).state_dict()
    loaded = limbeck.load_checkpoint(saved(tmp_path / "best", layout(state)), "resnet8", 10)
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.state_dict().items())


def test_a_network_that_has_a_student_of_its_own_keeps_it(tmp_path: Path) -> None:
    pair = nn.ModuleDict({"student": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    path = saved(tmp_path / "pair.pt", nn.ModuleDict({k: nn.Linear(2, 2) for k in pair}).state_dict())
    load_weights(pair, path, "pair")
    assert torch.equal(pair.state_dict()["student.weight"], torch.load(path)["student.weight"])


def test_other_sizes_channels_and_a_normalization(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        theirs = build("resnet8", example=torch.empty(1, 1, 12, 8), num_classes=5).eval()
    path = saved(tmp_path / "t.pth", theirs.state_dict())
    images = torch.rand(2, 1, 12, 8)
    loaded = limbeck.load_checkpoint(path, "resnet8", 5, in_channels=1, size=[12, 8])
    assert torch.equal(loaded(images), theirs(images))
    assert normalization_of(loaded) is None

    theirs = network("resnet8")
    loaded = limbeck.load_checkpoint(
        saved(tmp_path / "u.pth", theirs.state_dict()), "resnet8", normalization=CIFAR100
    )
    assert normalization_of(loaded) == CIFAR100
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CIFAR100.mean, CIFAR100.std))
    with torch.no_grad():
        torch.testing.assert_close(loaded(IMAGES), theirs((IMAGES - mean) / std))


def test_the_global_generator_is_not_touched(tmp_path: Path) -> None:
    path, state = saved(tmp_path / "t.pth", network("resnet8").state_dict()), torch.get_rng_state()
    limbeck.load_checkpoint(path, "resnet8")
    with pytest.raises(LimbeckError):
        limbeck.load_checkpoint(path, "resnet20")
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("given", "name", "classes", "message"),
    [
        (
            "resnet8x4",
            "resnet8",
            100,
            "t.pth does not fit resnet8: of 56 tensors, 6 unexpected (layer1.0.downsample.0.weight, "
            "layer1.0.downsample.1.weight, layer1.0.downsample.1.bias, ...); 46 of another shape "
            "(conv1.weight (32, 3, 3, 3) for (16, 3, 3, 3), bn1.weight (32,) for (16,), bn1.bias (32,) for "
            "(16,), ...); it fits resnet8x4 with 3 channels and 100 classes",
        ),
        (
            "resnet8",
            "resnet8",
            10,
            "t.pth does not fit resnet8: of 56 tensors, 2 of another shape (fc.weight (100, 64) for (10, "
            "64), fc.bias (100,) for (10,)); it fits resnet8 with 3 channels and 100 classes",
        ),
        ("shufflenetv1", "mobilenetv2", 100, "; it fits shufflenetv1 with 3 channels and 100 classes"),
        ("wrn_16_2", "resnet20", 100, "; it fits wrn_16_2 with 3 channels and 100 classes"),
    ],
)  # fmt: skip
def test_the_network_that_fits_is_named(
    given: str, name: str, classes: int, message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "t.pth", {"model": network(given).state_dict()})
    with pytest.raises(LimbeckError) as caught:
        limbeck.load_checkpoint(path, name, classes)
    assert str(caught.value).endswith(message)


def test_missing_and_extra_keys_are_listed_and_no_network_is_invented(tmp_path: Path) -> None:
    state = network("resnet8").state_dict()
    del state["conv1.weight"]
    state["head.weight"] = torch.ones(2)
    with pytest.raises(LimbeckError) as caught:
        limbeck.load_checkpoint(saved(tmp_path / "t.pth", state), "resnet8")
    assert str(caught.value) == (
        f"{tmp_path}/t.pth does not fit resnet8: of 56 tensors, 1 missing (conv1.weight); "
        "1 unexpected (head.weight)"
    )


def test_a_namespace_beside_the_weights_is_refused_with_the_way_out(tmp_path: Path) -> None:
    theirs = network("resnet8")
    content = {"opt": argparse.Namespace(trial="1"), "model": theirs.state_dict()}
    path = saved(tmp_path / "resnet8_last.pth", content)
    with pytest.raises(LimbeckError, match=r"holds a pickled argparse\.Namespace; .*left unread") as caught:
        limbeck.load_checkpoint(path, "resnet8")
    way_out = str(caught.value).split("take its weights out, ")[1].removesuffix(", and give those")
    exec(way_out.replace("'new.pth'", repr(str(tmp_path / "new.pth"))), {"torch": torch})
    loaded = limbeck.load_checkpoint(tmp_path / "new.pth", "resnet8")
    assert torch.equal(loaded(IMAGES), theirs(IMAGES))


@pytest.mark.parametrize(
    ("name", "message"),
    [("resnt8", "unknown model 'resnt8'; did you mean 'resnet8'"), ("resnet8(blocks=1)", "write that with")],
)
def test_an_unknown_name_is_told_before_the_file_is_read(name: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        limbeck.load_checkpoint("nowhere.pth", name)
    with pytest.raises(LimbeckError, match=r"there is no weights file 'nowhere\.pth'"):
        limbeck.load_checkpoint("nowhere.pth", "resnet8")


@pytest.fixture(scope="module")
def shapes() -> dict[str, dict[str, torch.Size]]:
    return dict(_benchmark_shapes(100))


def test_no_two_networks_of_the_benchmark_have_the_same_keys_and_shapes(
    shapes: dict[str, dict[str, torch.Size]],
) -> None:
    assert tuple(shapes) == BENCHMARK
    assert len({tuple(sorted(known.items())) for known in shapes.values()}) == len(BENCHMARK) == 24


@pytest.mark.skipif(not KEYS.is_file(), reason="the reference list of checkpoint keys is not here")
def test_the_published_checkpoints_of_every_network_fit(shapes: dict[str, dict[str, torch.Size]]) -> None:
    published = json.loads(KEYS.read_text())
    names = {THEIRS.get(name, name.lower()): name for name in published}
    assert names.keys() == set(BENCHMARK)
    for name, known in shapes.items():
        assert {key: list(shape) for key, shape in known.items()} == published[names[name]]


class TestSaving:
    def test_what_is_written_is_what_the_benchmarks_load(self, tmp_path: Path) -> None:
        ours = network("wrn_16_1", 10)
        assert save_checkpoint(ours, tmp_path / "deep" / "student.pth") == "wrn_16_1"
        content = torch.load(tmp_path / "deep" / "student.pth", weights_only=True)
        assert content.keys() == {"model"}
        assert list(content["model"]) == list(ours.state_dict())
        assert all(torch.equal(tensor, ours.state_dict()[key]) for key, tensor in content["model"].items())
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["student.pth"]
        loaded = limbeck.load_checkpoint(tmp_path / "deep" / "student.pth", "wrn_16_1", 10)
        assert torch.equal(loaded(IMAGES), ours(IMAGES))

    def test_a_network_spelled_out_has_its_name(self) -> None:
        assert fitting(network("resnet(blocks=3)", 7).state_dict()) == "resnet20"
        assert fitting(network("resnet(blocks=4)", 7).state_dict()) is None
        assert fitting({}) is None

    @pytest.mark.parametrize(
        "ours",
        [
            lambda: network("cnn"),
            lambda: build("resnet8", example=torch.empty(1, 1, 32, 32), num_classes=10),
            lambda: nn.Linear(3, 2),
        ],
        ids=["another network", "one channel", "no image network"],
    )
    def test_other_networks_are_refused(self, ours: Any, tmp_path: Path) -> None:
        with pytest.raises(
            LimbeckError, match=r"is none of the CRD benchmark's networks, .*: resnet8, resnet14,"
        ):
            save_checkpoint(ours(), tmp_path / "student.pth")
        assert not list(tmp_path.iterdir())
