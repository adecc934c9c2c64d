"""Files from strangers: nothing in them is run, and each is refused in a sentence."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command

import limbeck
from interrupting import interrupted_after
from limbeck.config import make_config
from limbeck.data.files.decoding import Decoder
from limbeck.errors import LimbeckError
from limbeck.methods import Phase
from limbeck.methods.declarations import Reads
from limbeck.models import load_state
from limbeck.models.weights import read_metadata
from limbeck.report.formats import csv_text, latex
from limbeck.report.table import Table
from limbeck.runs import Run
from limbeck.teachers.store import Store
from limbeck.training import checkpoints, phase_cache

STUDENT = "mlp(hidden=[6])"
QUICK = ("--epochs", "2", "--batch-size", "250", "--set", "training.trackers=[]", "--baseline", "none")


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.place,)


def of_torch(place: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"format": 4, "root": Payload(place), "model": Payload(place)}, file)
    return file.getvalue()


def plain(place: Path) -> bytes:
    return pickle.dumps(Payload(place))


def old_torch(place: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"model": Payload(place)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def of_numpy(place: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Payload(place)], dtype=object), allow_pickle=True)
    return file.getvalue()


def in_zip(place: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", plain(place))
        archive.writestr("archive/version", "3")
        archive.writestr("../../outside", "x")
    return file.getvalue()


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "torch": of_torch,
    "pickle": plain,
    "old torch": old_torch,
    "numpy": of_numpy,
    "zip": in_zip,
}


@pytest.mark.parametrize("kind", PAYLOADS)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_weights_file(kind: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(PAYLOADS[kind](tmp_path / "ran"))
    with pytest.raises(LimbeckError):
        load_state(file)
    if suffix == ".safetensors":
        with pytest.raises(LimbeckError):
            read_metadata(file)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path.parents[1] / "outside").exists()


@pytest.mark.parametrize("kind", PAYLOADS)
def test_as_teacher_student_and_import(kind: str, tmp_path: Path, command: Command) -> None:
    file = Path("evil.pt")
    file.write_bytes(PAYLOADS[kind](tmp_path / "ran"))
    for given in (
        ("distill", "--teacher", STUDENT, "--set", f"teacher.weights={file}", "--student", STUDENT),
        ("train", "--model", STUDENT, "--set", f"student.weights={file}"),
        ("import", str(file), "--model", "resnet20"),
    ):
        answer = command(*given)
        assert answer.code == 2, given
        assert "evil.pt" in answer.err
        assert "Traceback" not in answer.err
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    with interrupted_after(2):
        limbeck.train(
            model=STUDENT,
            epochs=3,
            batch_size=250,
            settings={"training.trackers": [], "training.checkpoint_every": 1},
            out=folder,
            display=False,
        )
    return folder


@pytest.mark.parametrize("kind", PAYLOADS)
def test_the_checkpoint_of_a_run_from_somebody_else(kind: str, begun: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    for name in ("last.pt", "previous.pt"):
        (run / "checkpoints" / name).write_bytes(PAYLOADS[kind](tmp_path / "ran"))
    with pytest.raises(LimbeckError, match=r"last\.pt"):
        limbeck.train(out=run, resume=True, display=False)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(LimbeckError):
        checkpoints.load_last(run / "checkpoints" / "last.pt")


@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_teachers_cache_is_begun_anew(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "cache.answers"
    file.write_bytes(PAYLOADS[kind](tmp_path / "ran"))
    with pytest.warns(UserWarning, match="is damaged and begun anew"):
        store = Store(file, {"teacher": "a"}, 4)
    assert not store.read(np.arange(3))[1].any()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", [*PAYLOADS, "torn"])
def test_what_a_phase_ended_with_is_trained_anew(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    part = torch.nn.Linear(2, 1)
    phase = Phase("adapting", [part], lambda *given: {}, Reads(), 1, torch.optim.SGD, cache="a")
    phase_cache.store(phase, "fp32", {"epoch": 1})
    before = {name: each.clone() for name, each in part.state_dict().items()}
    torch.nn.init.zeros_(part.weight)
    line, restore = phase_cache.recall(phase, "fp32") or ({}, lambda: None)
    restore()
    assert line == {"epoch": 1}
    assert all(torch.equal(each, before[name]) for name, each in part.state_dict().items())
    (file,) = (tmp_path / "cache" / "phases").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-3] if kind == "torn" else PAYLOADS[kind](tmp_path / "ran"))
    with pytest.warns(UserWarning, match="is damaged; adapting is trained anew"):
        assert phase_cache.recall(phase, "fp32") is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_student_from_somebody_else(kind: str, begun: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    (run / "student.safetensors").write_bytes(PAYLOADS[kind](tmp_path / "ran"))
    (run / "result.json").write_bytes(PAYLOADS[kind](tmp_path / "ran"))
    with pytest.raises(LimbeckError):
        limbeck.load(run)
    with pytest.raises(LimbeckError):
        assert Run(run).result
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        "student: !!python/object/apply:os.mkdir [ran]",
        "student: !!python/name:os.mkdir",
        "!!python/object/new:os.mkdir\nstudent: mlp",
        "student: mlp\nseed: !!python/object/apply:os.getpid []",
    ],
)
def test_tags_of_yaml(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(LimbeckError, match="is not YAML: could not determine a constructor"):
        make_config(file)
    assert not (tmp_path / "ran").exists()


MODULE = """
from pathlib import Path
from torch import nn

def make(width=10):
    (Path(__file__).parent / "ran").touch()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_a_factory_that_only_a_directory_names_is_asked_for_once(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("stranger.py").write_text(MODULE)
    ran = Path("ran")
    assert command("train", "--model", "stranger:make", "--out", "run", *QUICK[:-2]).code == 0
    assert ran.exists(), "who names it himself is asked nothing"
    limbeck.load("run")
    config = Path("run/config.yaml")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "of another user"))
    ran.unlink()
    message = "'run' names the factory 'stranger:make', which is code that you have not named yet"
    with pytest.raises(LimbeckError, match=message):
        limbeck.load("run")
    for given in (
        ("evaluate", "run"),
        ("export", "run", "--format", "pt2"),
        ("distill", "--student", STUDENT, "--teacher", "run", "--out", "other", *QUICK),
    ):
        answer = command(*given)
        assert (answer.code, ran.exists()) == (2, False), given
        assert "--trust-code" in answer.err
    Path("run/result.json").unlink()
    answer = command("train", "--resume", "--out", "run")
    assert (answer.code, ran.exists()) == (2, False)
    assert message in answer.err
    # Other arguments are other code.
    monkeypatch.delenv("LIMBECK_TRUST_CODE", raising=False)
    assert command("train", "--resume", "--out", "run", "--trust-code").code == 0
    assert ran.exists()
    monkeypatch.delenv("LIMBECK_TRUST_CODE")
    ran.unlink()
    limbeck.load("run")
    assert ran.exists(), "once it is trusted it stays so"
    config.write_text(config.read_text().replace("stranger:make", "os:getcwd"))
    Path("run/result.json").unlink()
    answer = command("train", "--resume", "--out", "run")
    assert "names the factory 'os:getcwd'" in answer.err


def test_a_factory_that_is_not_here_is_not_asked_for(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("absent.py").write_text(MODULE)
    assert command("train", "--model", "absent:make", "--out", "run", *QUICK[:-2]).code == 0
    Path("absent.py").rename("elsewhere.py")
    monkeypatch.delitem(sys.modules, "absent", raising=False)
    monkeypatch.delenv("LIMBECK_TRUST_CODE", raising=False)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "of another user"))
    with pytest.raises(LimbeckError) as error:
        limbeck.load("run")
    assert str(error.value) == (
        "'run' names the factory 'absent:make', and no file of a module 'absent' is found from here; go to "
        "its folder, or name that in PYTHONPATH"
    )


def test_a_config_that_lies_in_a_runs_directory_is_no_word_of_the_users(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    monkeypatch.delenv("LIMBECK_TRUST_CODE", raising=False)
    Path("stranger.py").write_text(MODULE)
    assert command("train", "--model", "stranger:make", "--out", "run", *QUICK[:-2]).code == 0
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "of another user"))
    Path("ran").unlink()
    message = "'run' names the factory 'stranger:make', which is code that you have not named yet"
    for more in (["--dry-run"], ["--out", "again"]):
        answer = command("train", "run/config.yaml", *more)
        assert (answer.code, Path("ran").exists()) == (2, False)
        assert message in answer.err
    own = Path("own.yaml")
    own.write_text(Path("run/config.yaml").read_text())
    assert command("train", str(own), "--dry-run").code == 0, "a config of one's own is"
    assert command("train", "run/config.yaml", "--out", "again").code == 0, "it has been named now"


def test_a_factory_of_the_same_name_elsewhere_is_another_one(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    monkeypatch.delenv("LIMBECK_TRUST_CODE", raising=False)
    for place in ("mine", "theirs"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "stranger.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path / "mine")
    assert command("train", "--model", "stranger:make", "--out", "run", *QUICK[:-2]).code == 0
    limbeck.load("run")
    monkeypatch.chdir(tmp_path / "theirs")
    sys.modules.pop("stranger")
    shutil.copytree(tmp_path / "mine" / "run", "run")
    with pytest.raises(
        LimbeckError, match=r"not named yet; if you trust whoever made '.*theirs/stranger.py', say"
    ):
        limbeck.load("run")
    assert not Path("ran").exists()


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_in_a_csv_are_texts(cell: str) -> None:
    text = csv_text([{"name": cell, "value": -1.5}])
    assert text.splitlines()[0] == "name,value"
    assert f"'{cell}" in text
    assert text.rstrip().endswith(",-1.5"), "a number stays one"


def test_latex_in_names_is_text() -> None:
    written = latex(Table("", ("name",), [(r"\input{/etc/passwd} $x$ % & _",)], notes="a\n\\b"))
    (row,) = [line for line in written.splitlines() if "etc" in line]
    assert r"\textbackslash{}input\{/etc/passwd\} \$x\$ \% \& \_" in row
    assert "% \\b" in written.splitlines()


def test_a_bomb_of_an_image_is_refused(tmp_path: Path) -> None:
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0")
    with pytest.raises(LimbeckError, match=r"the image in bomb\.png cannot be read: Image size .* exceeds"):
        Decoder(gray=False, size=8)(bomb + _chunk(b"IDAT", b"") + _chunk(b"IEND", b""), tmp_path, "bomb.png")


def _chunk(name: bytes, content: bytes) -> bytes:
    import zlib

    checksum = zlib.crc32(name + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + name + content + checksum


def test_a_data_set_with_a_loading_script(tmp_path: Path, command: Command) -> None:
    folder = Path("scripted")
    folder.mkdir()
    script = f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n"
    (folder / "scripted.py").write_text(script)
    (folder / "dataset_infos.json").write_text(json.dumps({}))
    for data in (
        f'text(path="{folder}")',
        f'images(path="{folder}")',
        f'table(path="{folder}")',
        str(folder),
    ):
        answer = command("train", "--model", STUDENT, "--data", data)
        assert answer.code == 2, data
        assert "Traceback" not in answer.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../../evil", "a/../../b", "/tmp/evil", "..\\evil", "\x00", "<script>"])
def test_names_that_lead_elsewhere(name: str, command: Command, tmp_path: Path) -> None:
    before = set(tmp_path.parent.iterdir())
    for given in (
        ("train", "--model", name),
        ("train", "--model", STUDENT, "--data", name),
        ("train", "--model", STUDENT, "--objective", name),
        ("distill", "--student", STUDENT, "--teacher", f"{name}=mlp", "--teacher", "b=mlp"),
    ):
        answer = command(*given)
        assert answer.code == 2, given
        assert "Traceback" not in answer.err
    assert set(tmp_path.parent.iterdir()) == before
    assert not Path("runs").exists()
