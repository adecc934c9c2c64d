import argparse
import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from full_disk import full_disk
from limbeck.errors import LimbeckError
from limbeck.models import CNN, count_parameters, load_into, load_state, save
from limbeck.models.weights import read_checkpoint, write_checkpoint


def network(seed: int = 0, num_classes: int = 5) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CNN([3, 4], in_channels=1, size=8, num_classes=num_classes)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 3)
        self.decoder = nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.register_buffer("row", self.encoder.weight.detach()[0])


class CodeInside:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def test_count_parameters() -> None:
    assert count_parameters(nn.Linear(3, 2)) == 8
    assert count_parameters(nn.BatchNorm1d(4)) == 8
    assert count_parameters(Tied()) == 9 + 3 + 3
    assert count_parameters(nn.ReLU()) == 0


def test_what_is_saved_is_loaded_into_another_network(tmp_path: Path) -> None:
    first, second = network(0), network(1)
    first.train()(torch.rand(4, 1, 8, 8))
    save(first, tmp_path / "network.safetensors", {"spec": "cnn(channels=[3, 4])"})
    load_into(second, load_state(tmp_path / "network.safetensors"), "network.safetensors")
    assert same(first.state_dict(), second.state_dict())
    assert second.state_dict()["stages.0.0.bn.num_batches_tracked"] == 1
    with safe_open(tmp_path / "network.safetensors", "pt") as file:
        assert file.metadata() == {"spec": "cnn(channels=[3, 4])"}
    assert os.listdir(tmp_path) == ["network.safetensors"]


def test_equal_networks_make_equal_files(tmp_path: Path) -> None:
    metadata = {name: f'{name} ü \n"' for name in "hgfedcba"}
    for number in range(5):  # safetensors draws the order of the metadata anew for every file
        save(network(), tmp_path / f"{number}.safetensors", metadata)
    files = [(tmp_path / f"{number}.safetensors").read_bytes() for number in range(5)]
    assert len(set(files)) == 1
    with safe_open(tmp_path / "0.safetensors", "pt") as tensors:
        assert tensors.metadata() == metadata
    assert int.from_bytes(files[0][:8], "little") % 8 == 0, "the tensors are aligned"
    save(network(), tmp_path / "bare.safetensors", {})
    for name in ("0", "bare"):
        load_into(network(1), load_state(tmp_path / f"{name}.safetensors"), name)
        for key, tensor in load_state(tmp_path / f"{name}.safetensors").items():
            assert torch.equal(tensor, network().state_dict()[key])


def test_keys_are_the_networks_own_whatever_their_prefix(tmp_path: Path) -> None:
    wrapper = nn.ModuleDict({"module": nn.Linear(3, 2)})
    save(wrapper, tmp_path / "w.safetensors", {})
    assert set(load_state(tmp_path / "w.safetensors")) == {"module.weight", "module.bias"}


def test_shared_and_strided_tensors_survive(tmp_path: Path) -> None:
    tied = Tied()
    save(tied, tmp_path / "tied.safetensors", {})
    again = Tied()
    load_into(again, load_state(tmp_path / "tied.safetensors"), "tied.safetensors")
    assert again.decoder.weight is again.encoder.weight
    assert same(tied.state_dict(), again.state_dict())

    strided = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save(strided, tmp_path / "strided.safetensors", {})
    state = load_state(tmp_path / "strided.safetensors")
    assert all(torch.equal(state[key], tensor) for key, tensor in strided.state_dict().items())


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.safetensors"
    save(network(0), path, {})
    before = path.read_bytes()

    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LimbeckError, match="cannot be written: No space"):
        save(network(1), path, {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["network.safetensors"]


def test_a_state_with_more_than_tensors_is_refused(tmp_path: Path) -> None:
    class Counted(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

    with pytest.raises(LimbeckError, match="Counted keeps a dict at '_extra_state' of its state"):
        save(Counted(3, 2), tmp_path / "w.safetensors", {})
    assert not os.listdir(tmp_path)


def checkpoint(state: dict[str, Tensor], layout: str) -> dict[str, Any]:
    layouts: dict[str, dict[str, Any]] = {
        "plain": state,
        "model": {"model": state, "epoch": 240, "best_acc": 74.1},
        "state_dict": {"state_dict": state, "optimizer": {"lr": 0.1}},
        "data parallel": {"model": {f"module.{key}": tensor for key, tensor in state.items()}},
        "compiled": {f"_orig_mod.{key}": tensor for key, tensor in state.items()},
        "both": {f"module._orig_mod.{key}": tensor for key, tensor in state.items()},
        "both, the other way": {f"_orig_mod.module.{key}": tensor for key, tensor in state.items()},
    }
    return layouts[layout]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "layout",
    ["plain", "model", "state_dict", "data parallel", "compiled", "both", "both, the other way"],
)
def test_checkpoints_in_every_layout(tmp_path: Path, layout: str, zipped: bool) -> None:
    state = network().state_dict()
    path = tmp_path / "teacher.pth"
    torch.save(checkpoint(state, layout), path, _use_new_zipfile_serialization=zipped)
    assert same(load_state(path), state)


def test_a_prefix_that_only_some_keys_have_stays(tmp_path: Path) -> None:
    torch.save({"module.weight": torch.ones(2), "bias": torch.ones(1)}, tmp_path / "w.pt")
    assert list(load_state(tmp_path / "w.pt")) == ["module.weight", "bias"]


def test_a_layer_named_model_is_no_layout(tmp_path: Path) -> None:
    torch.save({"model": torch.ones(2)}, tmp_path / "w.pt")
    assert list(load_state(tmp_path / "w.pt")) == ["model"]


@pytest.mark.parametrize("name", ["nothing.safetensors", "nothing.pt", ""])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(LimbeckError, match="there is no weights file"):
        load_state(tmp_path / name)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["safetensors", "zipped", "legacy"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save(network(), path, {})
    else:
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=kind == "zipped")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LimbeckError, match=path.name) as caught:
        load_state(path)
    assert "damaged" in str(caught.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_text_is_no_weights_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello, world\n")
    with pytest.raises(LimbeckError, match=f"{name}.* is damaged"):
        load_state(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "mark"
    evil = {"model": network().state_dict(), "args": CodeInside(mark)}
    torch.save(evil, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(LimbeckError, match=r"holds a pickled posix\.mkdir; a pickle can run code"):
        load_state(tmp_path / "w.pt")
    assert not mark.exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_bare_pickle_is_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(CodeInside(mark), protocol))
    with pytest.raises(LimbeckError, match="a pickle can run code, so it was left unread"):
        load_state(tmp_path / "w.pkl")
    assert not mark.exists()


def test_objects_beside_the_weights_are_named_with_the_way_out(tmp_path: Path) -> None:
    torch.save({"model": network().state_dict(), "opt": argparse.Namespace(lr=0.05)}, tmp_path / "w.pth")
    with pytest.raises(LimbeckError) as caught:
        load_state(tmp_path / "w.pth")
    assert "holds a pickled argparse.Namespace" in str(caught.value)
    assert f"torch.save(torch.load('{tmp_path}/w.pth', weights_only=False)['model'], " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "but keys "),
        ({"epoch": 3, "best": 0.5}, "but keys epoch, best"),
        ({"model": {}, "epoch": 3}, "but keys model, epoch"),
        ({0: torch.ones(2)}, "but keys 0"),
        ([torch.ones(2)], "but list"),
        (torch.ones(2), "but Tensor"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object, found: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(LimbeckError, match=f"holds no state dict, alone or at .*{found}"):
        load_state(tmp_path / "w.pt")


def test_a_state_of_another_network_is_refused_and_nothing_is_loaded() -> None:
    target, state = network(0), network(1, num_classes=7).state_dict()
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    for key in list(state)[:4]:
        del state[key]
    state["head.weight"] = torch.ones(1)
    with pytest.raises(LimbeckError) as caught:
        load_into(target, state, "runs/other")
    assert str(caught.value) == (
        "runs/other does not fit CNN: of 14 tensors, 4 missing (stages.0.0.conv.weight, "
        "stages.0.0.bn.weight, stages.0.0.bn.bias, ...); 1 unexpected (head.weight); 2 of another shape "
        "(classifier.weight (7, 16) for (5, 16), classifier.bias (7,) for (5,))"
    )
    assert same(target.state_dict(), before)


@pytest.mark.parametrize(
    ("size", "room"), [(20, 1000), (200, 1000), (30_000, 20_000), (3_000_000, 5_000_000)]
)
def test_a_checkpoint_for_which_there_is_no_room_is_no_file_cut_short(
    size: int, room: int, tmp_path: Path
) -> None:
    weights = [torch.arange(float(size)), torch.ones(size)]
    state = {"weights": weights, "text": "x" * 5000}
    file = tmp_path / "last.pt"
    with full_disk(room), pytest.raises(OSError, match="there is no room for it on the disk") as caught:
        write_checkpoint(state, file)
    assert caught.value.errno == errno.ENOSPC
    write_checkpoint(state, file)
    again = read_checkpoint(file)
    assert again["text"] == state["text"]
    assert torch.equal(torch.stack(again["weights"]), torch.stack(weights))


def test_other_reasons_are_the_systems(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_checkpoint({}, tmp_path / "missing" / "last.pt")
