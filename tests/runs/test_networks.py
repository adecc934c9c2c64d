from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import QUICK, STUDENT, make_teacher, same, state_of, three_classes
from torch import nn

import limbeck
from limbeck import data, models
from limbeck.config import NetworkConfig, make_config
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs import Run, network_names, network_notes, networks
from limbeck.runs.job import prepare
from limbeck.tasks import Classification
from zoo_packages import install


@pytest.fixture(scope="module")
def digits() -> Source:
    return data.load("digits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_teacher(tmp_path_factory.mktemp("runs") / "teacher")


def config(model: str, **rest: Any) -> NetworkConfig:
    return NetworkConfig(model=model, **rest)


class TestStudent:
    def test_its_weights_are_a_function_of_the_seed(self, digits: Source) -> None:
        state = torch.get_rng_state()
        first, again, other = (
            networks.student(config("cnn(channels=[2, 4])"), digits, seed).state_dict() for seed in (3, 3, 4)
        )
        assert torch.equal(state, torch.get_rng_state())
        assert same(first, again)
        assert not same(first, other)

    def test_it_fits_the_data_and_brings_its_normalization(self, digits: Source) -> None:
        network = networks.student(config("mlp(hidden=[6])"), digits, 0)
        assert network(digits.example(3)).shape == (3, 10)
        assert models.normalization_of(network) == models.Normalization(digits.mean, digits.std)
        network = networks.student(config("mlp(hidden=[6])"), three_classes(), 0)
        assert network(torch.rand(2, 4)).shape == (2, 3)

    def test_a_run_is_gone_on_from_with_its_own_normalization(self, digits: Source, trained: Run) -> None:
        other = data.from_tensors(torch.rand(20, 1, 8, 8), torch.arange(20) % 10)
        network = networks.student(config(str(trained.path)), other, 0)
        assert same(network.state_dict(), state_of(trained))
        assert models.normalization_of(network) == models.Normalization(digits.mean, digits.std)

    def test_a_fresh_one_for_values_answers_on_the_scale_of_the_targets(
        self, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = three_classes()
        assert models.rescaling_of(networks.student(config("mlp"), source, 0)) is None
        monkeypatch.setattr(Classification, "scores", "values")
        monkeypatch.setattr(Classification, "columns_hold", "values")
        source = replace(source, train=replace(source.train, targets=torch.arange(60).double()[:, None]))
        monkeypatch.setattr(Classification, "labeled", staticmethod(lambda targets: targets[:, 0] > 9))
        fresh = networks.student(config("mlp"), source, 0)
        variance = (50**2 - 1) / 12  # of 10, ..., 59
        rescaling = models.rescaling_of(fresh)
        assert rescaling is not None
        assert rescaling.mean == (34.5,)
        assert rescaling.std == pytest.approx((variance**0.5,))
        torch.save(networks.student(config("mlp"), source, 0).state_dict(), tmp_path / "weights.pt")
        given = config("mlp", weights=tmp_path / "weights.pt")
        assert models.rescaling_of(networks.student(given, source, 0)) is None, (
            "it may answer in units already"
        )

    def test_weights_are_read_from_a_checkpoint(self, digits: Source, trained: Run, tmp_path: Path) -> None:
        torch.save(state_of(trained), tmp_path / "weights.pt")
        given = config("mlp(hidden=[16])", weights=tmp_path / "weights.pt")
        assert same(networks.student(given, digits, 0).state_dict(), state_of(trained))
        with pytest.raises(
            LimbeckError, match=r"weights\.pt does not fit mlp\(hidden=\[6\]\): .* of another shape"
        ):
            networks.student(config("mlp(hidden=[6])", weights=tmp_path / "weights.pt"), digits, 0)


class TestTeacher:
    def test_a_network_of_the_zoo_without_weights_is_refused(self, digits: Source) -> None:
        with pytest.raises(LimbeckError) as caught:
            networks.teacher(config("cnn(channels=[2, 4])"), digits)
        assert str(caught.value) == (
            "the teacher 'cnn(channels=[2, 4])' has no weights; give a run's directory (make one with "
            "`limbeck train --model 'cnn(channels=[2, 4])'`) or set teacher.weights=FILE to a checkpoint"
        )

    def test_a_misspelled_one_is_told_so_first(self, digits: Source) -> None:
        with pytest.raises(LimbeckError, match="unknown model 'cn'; did you mean 'cnn'"):
            networks.teacher(config("cn"), digits)

    def test_a_run_teaches(self, digits: Source, trained: Run) -> None:
        for place in (trained.path, trained.path / "student.safetensors"):
            network = networks.teacher(config(str(place)), digits)
            assert same(network.state_dict(), state_of(trained))
            assert models.normalization_of(network) == models.Normalization(digits.mean, digits.std)

    def test_a_network_of_a_zoo_without_weights_is_refused_too(
        self, digits: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(monkeypatch)
        with pytest.raises(
            LimbeckError, match="the teacher 'timm:resnet18' has no weights; give a run's dir"
        ):
            networks.teacher(config("timm:resnet18"), digits)
        with pytest.raises(LimbeckError, match="unknown network of timm: 'resnt18'"):
            networks.teacher(config("timm:resnt18"), digits)
        fetched = networks.teacher(config("timm:resnet18(pretrained=true)"), digits)
        assert models.normalization_of(fetched) is None, (
            "that of three channels does not fit, nor does the data's"
        )
        torch.save(fetched.state_dict(), tmp_path / "w.pt")
        loaded = networks.teacher(config("timm:resnet18", weights=tmp_path / "w.pt"), digits)
        assert same(loaded.state_dict(), fetched.state_dict())

    def test_the_network_that_a_checkpoint_fits_is_named(self, tmp_path: Path) -> None:
        images = torch.zeros(2, 3, 32, 32)
        state = models.build("resnet8", example=images, num_classes=5).state_dict()
        torch.save(
            {"model": {f"module.student.{key}": tensor for key, tensor in state.items()}}, tmp_path / "best"
        )
        given = config("resnet20", weights=tmp_path / "best")
        with pytest.raises(
            LimbeckError, match=r"does not fit resnet20: .*; it fits resnet8 with 3 channels and 5"
        ):
            networks.build(given, "teacher", images, 5)
        given = config("resnet8", weights=tmp_path / "best")
        assert same(networks.build(given, "teacher", images, 5).state_dict(), state)

    def test_the_global_generator_is_not_touched(self, digits: Source, trained: Run) -> None:
        state = torch.get_rng_state()
        weights = trained.path / "student.safetensors"
        networks.teacher(config(str(trained.path)), digits)
        networks.teacher(config("mlp(hidden=[16])", weights=weights), digits)
        assert torch.equal(state, torch.get_rng_state())


class TestNormalization:
    """What is put before a network: what its weights were trained behind."""

    @pytest.fixture
    def weights(self, trained: Run, tmp_path: Path) -> Path:
        torch.save(state_of(trained), tmp_path / "weights.pt")
        return tmp_path / "weights.pt"

    @pytest.fixture
    def factory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        (tmp_path / "nets_that_are_ready.py").write_text(
            "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        return "nets_that_are_ready:make"

    @pytest.mark.parametrize("role", ["student", "teacher"])
    def test_nothing_is_put_before_other_peoples_weights_unless_asked_for(
        self, role: str, digits: Source, weights: Path, factory: str
    ) -> None:
        of_data = models.Normalization(digits.mean, digits.std)
        for given in ({"model": "mlp(hidden=[16])", "weights": weights}, {"model": factory}):
            for normalize, wanted in ((None, None), ("none", None), ("data", of_data)):
                made = NetworkConfig.model_validate({**given, "normalize": normalize})
                network = made_as(role, made, digits)
                assert models.normalization_of(network) == wanted
                note = network_notes.normalization_note(made, network, digits, role)
                assert (note is not None) == (normalize is None)
        assert network_notes.normalization_note(config(factory), make(factory), digits, role) == (
            f"no normalization is put before {factory}, whose weights limbeck did not make; --set "
            f"{role}.normalize=data has it read inputs standardized by the training split of digits"
        )

    def test_a_run_says_so_as_it_begins(self, weights: Path) -> None:
        settings = {"student.model": "mlp(hidden=[6])", "teacher.model": "mlp(hidden=[16])"}
        silent = make_config(None, {**settings, "teacher.weights": weights, "teacher.normalize": "data"})
        assert prepare(silent).notes == ()
        (note,) = prepare(make_config(None, {**settings, "teacher.weights": weights})).notes
        assert note.startswith(
            "no normalization is put before mlp(hidden=[16]), whose weights limbeck did not"
        )

    def test_a_runs_weights_keep_the_runs_normalization(self, digits: Source, trained: Run) -> None:
        file = trained.path / "student.safetensors"
        other = data.from_tensors(torch.rand(20, 1, 8, 8), torch.arange(20) % 10)
        given = config("mlp(hidden=[16])", weights=file)
        network = networks.teacher(given, other)
        assert models.normalization_of(network) == models.Normalization(digits.mean, digits.std)
        assert network_notes.normalization_note(given, network, digits, "teacher") is None

    def test_what_a_network_brings_is_not_overridden(self, digits: Source, trained: Run) -> None:
        other = data.from_tensors(torch.rand(20, 1, 8, 8), torch.arange(20) % 10)
        for normalize in ("data", "none"):
            given = NetworkConfig(model=str(trained.path), normalize=normalize)
            with pytest.raises(
                LimbeckError, match=f"brings its own .* leave out teacher.normalize={normalize}"
            ):
                networks.teacher(given, other)
        same_data = NetworkConfig(model=str(trained.path), normalize="data")
        assert models.normalization_of(networks.teacher(same_data, digits)) is not None

    def test_fresh_networks_have_the_datas_or_none(self, digits: Source) -> None:
        plain = NetworkConfig(model="mlp(hidden=[6])", normalize="none")
        assert models.normalization_of(networks.student(plain, digits, 0)) is None
        fresh = networks.student(config("mlp(hidden=[6])"), digits, 0)
        assert network_notes.normalization_note(config("mlp(hidden=[6])"), fresh, digits, "student") is None


def make(factory: str) -> nn.Module:
    return models.build(factory)


def made_as(role: str, given: NetworkConfig, source: Source) -> nn.Module:
    return networks.student(given, source, 0) if role == "student" else networks.teacher(given, source)


class TestPlaces:
    @pytest.mark.parametrize("model", ["runs/gone", "gone.pt", "gone.pth", "runs/gone.safetensors"])
    @pytest.mark.parametrize("role", ["student", "teacher"])
    def test_a_place_that_is_not_there(self, model: str, role: str, digits: Source) -> None:
        with pytest.raises(LimbeckError, match=f"the {role} '{model}' is no run directory and no file"):
            networks.build(config(model), role, digits.example(), 10)

    def test_a_checkpoint_without_a_name(self, digits: Source, trained: Run, tmp_path: Path) -> None:
        torch.save(state_of(trained), tmp_path / "w.pt")
        with pytest.raises(LimbeckError) as caught:
            networks.teacher(config(str(tmp_path / "w.pt")), digits)
        assert str(caught.value) == (
            f"the checkpoint '{tmp_path}/w.pt' does not say which network it belongs to; give its name as "
            f"the teacher and set teacher.weights={tmp_path}/w.pt"
        )

    def test_a_folder_that_is_no_run(self, digits: Source, tmp_path: Path) -> None:
        with pytest.raises(LimbeckError, match=r"holds no student\.safetensors"):
            networks.teacher(config(str(tmp_path)), digits)

    def test_a_name_of_the_zoo_stays_one_beside_a_folder_of_that_name(
        self, digits: Source, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        limbeck.train(model=STUDENT, out="mlp", **QUICK)
        assert network_names.is_path("./mlp")
        assert not network_names.is_path("mlp")
        Path("resnet20").mkdir()
        assert not network_names.is_path("resnet20")
        assert not same(networks.student(config("mlp"), digits, 0).state_dict(), state_of(Run(Path("mlp"))))
        assert same(networks.student(config("./mlp"), digits, 0).state_dict(), state_of(Run(Path("mlp"))))

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ("mlp", False),
            ("mlp(hidden=[3])", False),
            ("package.module:make(width=2)", False),
            ('package.module:make(path="a/b")', False),
            ("mlp" * 2000, False),
            ("runs/teacher", True),
            ("weights.pt", True),
        ],
    )
    def test_what_is_a_place(self, model: str, expected: bool) -> None:
        assert network_names.is_path(model) is expected
