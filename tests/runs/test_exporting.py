from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import QUICK, content, make_teacher, state_of

import limbeck
from limbeck import data, models
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.exporting import export

MEAN, STD = (0.25, 0.5, 0.75), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A student of the CRD benchmark's, for images of 8 x 8."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 3, 8, 8, generator=generator)
    source = data.from_tensors(images, torch.arange(40) % 4, validation=None)
    return limbeck.train(
        model="resnet(blocks=1)",
        data=replace(source, mean=MEAN, std=STD),
        out=tmp_path_factory.mktemp("runs") / "run",
        **QUICK,
    )


def test_a_student_goes_back_to_the_benchmark(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "student.pth"
    for given in (run, run.path, str(run.path), run.path / "student.safetensors"):
        lines = export(given, "repdistiller", out, overwrite=True)
    assert lines == [
        "a checkpoint of resnet8, {'model': state_dict}",
        "it takes images that were normalised before: mean 0.25, 0.5, 0.75; std 0.2, 0.25, 0.3",
    ]
    content = torch.load(out, weights_only=True)
    assert content.keys() == {"model"}
    assert all(torch.equal(content["model"][key], tensor) for key, tensor in state_of(run).items())

    back = limbeck.load_checkpoint(out, "resnet8", 4, size=8)
    pixels = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        torch.testing.assert_close(back((pixels - mean) / std), limbeck.load(run)(pixels))


@pytest.fixture
def other(tmp_path: Path) -> Run:
    return make_teacher(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "repdistller"}, "unknown format 'repdistller'; did you mean 'repdistiller'?"),
        ({"run": "nowhere"}, r"'nowhere' holds no student\.safetensors; is it the directory of a finished"),
        ({"out": "there.pth"}, "'there.pth' exists; say --overwrite or another --out"),
        ({"out": "."}, "'.' is a directory; --out names the file to write"),
        ({"out": "there.pth/x.pth"}, r"'there\.pth/x\.pth' cannot be written: "),
        (
            {"out": "copy/student.safetensors", "overwrite": True},
            "is the run's own file; choose another --out",
        ),
    ],
)
def test_what_cannot_be_exported_changes_nothing(
    changes: dict[str, Any], message: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.pth").write_text("precious")
    Path("copy").symlink_to(run.path)
    before = content(tmp_path)
    with pytest.raises(LimbeckError, match=message):
        export(**{"run": "copy", "form": "repdistiller", "out": "new.pth", **changes})
    assert content(tmp_path) == before


def test_other_networks_are_refused(other: Run, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="this MLP is none of the CRD benchmark's networks"):
        export(other, "repdistiller", tmp_path / "student.pth")
    assert not (tmp_path / "student.pth").exists()
    assert models.normalisation_of(limbeck.load(other)) is not None
