from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import QUICK, content, same, state_of
from torch import nn

import limbeck
from limbeck import data, models
from limbeck.data import Source
from limbeck.doors import evaluate
from limbeck.errors import LimbeckError
from limbeck.models import CIFAR100, Normalization
from limbeck.runs import Run
from limbeck.runs.importing import import_checkpoint
from limbeck.tasks.classification.findings import ClassificationFindings

GRAY = Normalization((0.3,), (0.4,))


def network(spec: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.build(spec, example=torch.empty(1, *shape), num_classes=classes).eval()


def colors(classes: int = 4) -> Source:
    generator = torch.Generator().manual_seed(0)
    images, targets = torch.rand(40, 3, 8, 8, generator=generator), torch.arange(40) % classes
    return data.from_tensors(images, targets, validation=None, test=(images, targets), name="colors")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A checkpoint as the CRD benchmark's are."""
    path = tmp_path / "resnet8_best.pth"
    torch.save({"epoch": 240, "model": network("resnet8", (3, 32, 32), 100).state_dict()}, path)
    return path


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A state dict of a network for the digits."""
    path = tmp_path / "digits.pt"
    torch.save(network("resnet8", (1, 8, 8), 10).state_dict(), path)
    return path


def test_a_published_checkpoint_becomes_a_run_that_takes_pixels(published: Path, tmp_path: Path) -> None:
    run = import_checkpoint(published, "resnet8", out=tmp_path / "teacher")
    assert run == Run(tmp_path / "teacher")
    assert content(run.path).keys() == {"student.safetensors", "import.json", "environment.json"}
    loaded = limbeck.load(run)
    assert same(loaded.state_dict(), network("resnet8", (3, 32, 32), 100).state_dict())
    assert models.normalization_of(loaded) == CIFAR100
    assert not loaded.training
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CIFAR100.mean, CIFAR100.std))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(images), limbeck.load_checkpoint(published, "resnet8")((images - mean) / std)
        )
    assert json.loads((run.path / "import.json").read_text()) == {
        "file": str(published),
        "sha256": hashlib.sha256(published.read_bytes()).hexdigest(),
    }
    assert not run.finished


def test_it_teaches(tmp_path: Path) -> None:
    torch.save(network("resnet8", (3, 8, 8), 4).state_dict(), tmp_path / "t.pt")
    teacher = import_checkpoint(
        tmp_path / "t.pt", "resnet8", classes=4, shape=(3, 8, 8), normalization=CIFAR100, out=tmp_path / "t"
    )
    run = limbeck.distill(
        student="cnn(channels=[4])", teacher=teacher, data=colors(), out=tmp_path / "run", **QUICK
    )
    assert run.result.teachers["teacher"].parameters == models.count_parameters(limbeck.load(teacher))
    assert same(state_of(teacher), network("resnet8", (3, 8, 8), 4).state_dict())


def test_it_is_measured_on_data_that_are_named(digits: Path, tmp_path: Path) -> None:
    run = import_checkpoint(
        digits, "resnet8", classes=10, shape=(1, 8, 8), normalization=GRAY, out=tmp_path / "t"
    )
    found = evaluate(run, "digits")
    assert (found.split, found.student.name, found.student.run) == ("test", "resnet8", str(run.path))
    assert not (run.path / "evaluation.json").exists()
    with pytest.raises(LimbeckError, match=r"was imported and has no data of its own; name some with data"):
        evaluate(run)
    with pytest.raises(LimbeckError, match="there is no run to resume"):
        limbeck.train(model="mlp", out=run.path, resume=True)


def test_the_next_free_directory(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert import_checkpoint(published, "resnet8").path == Path("runs/import-1")
    assert import_checkpoint(published, "resnet8").path == Path("runs/import-2")


def test_what_was_imported_is_replaced_when_asked(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_checkpoint(published, "resnet8", out=out)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(LimbeckError, match="holds an imported network; say overwrite=True"):
        import_checkpoint(published, "resnet8", out=out)
    plain = Normalization((0.5,) * 3, (0.2,) * 3)
    run = import_checkpoint(published, "resnet8", normalization=plain, out=out, overwrite=True)
    assert models.normalization_of(limbeck.load(run)) == plain
    limbeck.train(model="mlp", data=colors(), out=out, overwrite=True, **QUICK)
    assert not (out / "import.json").exists()
    with pytest.raises(LimbeckError, match="holds another run"):
        import_checkpoint(published, "resnet8", out=out)
    import_checkpoint(published, "resnet8", out=out, overwrite=True)
    assert content(out).keys() == {"student.safetensors", "import.json", "environment.json", "mine.txt"}


def test_a_run_s_own_weights_may_be_imported_over_it(digits: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"classes": 10, "shape": (1, 8, 8), "out": tmp_path / "t", "overwrite": True}
    run = import_checkpoint(digits, "resnet8", normalization=GRAY, **given)
    again = import_checkpoint(run.path / "student.safetensors", "resnet8", normalization=GRAY, **given)
    assert same(state_of(again), torch.load(digits))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 10}, r"fc.weight \(100, 64\) for \(10, 64\).*; it fits resnet8 with 3 channels and 100"),
        ({"model": "resnet20"}, "does not fit resnet20: .*; it fits resnet8 with"),
        ({"model": "resnt8"}, "unknown model 'resnt8'"),
        (
            {"shape": (3, 64, 64)},
            r"say how the images of resnet8 were normalized, with normalization \(--normalization cifar100\|",
        ),
        ({"shape": (32, 32)}, r"takes images, channels x height x width, not \(32, 32\)"),
        ({"normalization": GRAY}, "the normalization is for 1 channels, and the images have 3; give a mean"),
        ({"path": "nowhere.pth"}, r"there is no weights file 'nowhere\.pth'"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(
    changes: dict[str, Any], message: str, published: Path, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=message):
        import_checkpoint(**{"path": published, "model": "resnet8", "out": tmp_path / "out", **changes})
    assert not (tmp_path / "out").exists()


def test_nothing_is_fitted_on_validation_for_a_network_that_may_have_seen_it(tmp_path: Path) -> None:
    network = models.build("cnn(channels=[4])", example=torch.rand(2, 1, 8, 8), num_classes=10)
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    run = import_checkpoint(
        tmp_path / "theirs.pth",
        "cnn(channels=[4])",
        classes=10,
        shape=(1, 8, 8),
        normalization=Normalization((0.3,), (0.4,)),
        out=tmp_path / "imported",
    )
    found = evaluate(run, "digits")
    findings = found.networks["student"].findings
    assert isinstance(findings, ClassificationFindings)
    assert findings.calibration.temperature is None
    expected = "Nothing is fitted on the validation split for student: what it was trained on is not known"
    assert any(note.startswith(expected) for note in found.notes)
