from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import QUICK, make_student, make_teacher, same, state_of, three_classes

import limbeck
from limbeck.doors import transfer
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.importing import import_checkpoint

FAST: dict[str, Any] = {"modes": ("probe",), "epochs": 1, "rates": (0.1,), "device": "cpu", "display": False}
OTHER = "digits(labeled=40)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A student, and its teacher."""
    folder = tmp_path_factory.mktemp("runs")
    teacher = make_teacher(folder / "teacher")
    return make_student(folder / "student", teacher), teacher


@pytest.fixture
def student(runs: tuple[Run, Run], tmp_path: Path) -> Run:
    """A copy of the student's run; the teacher is where it was."""
    return Run(Path(shutil.copytree(runs[0].path, tmp_path / "student")))


def test_student_and_teacher_are_measured_beside_each_other(student: Run, runs: tuple[Run, Run]) -> None:
    weights = state_of(student)
    results = transfer(student, OTHER, **{**FAST, "modes": ("probe", "finetune"), "rates": (0.1, 0.01)})
    for mode, result in zip(("probe", "finetune"), results, strict=True):
        file = student.path / "transfer" / f"digits_labeled=40_seed=0-{mode}-seed0.json"
        assert json.loads(file.read_text()) == json.loads(json.dumps(result))
        assert result["mode"] == mode
        assert result["setup"] == {
            "epochs": 1,
            "rates": (0.1, 0.01),
            "batch_size": 64,
            "views": None,
            "seed": 0,
        }
        assert result["data"]["name"] == "digits(labeled=40, seed=0)"
        assert (result["data"]["train"], result["data"]["classes"]) == (40, 10)
        assert result["data"]["fingerprint"] == limbeck.data.load(OTHER).fingerprint()
        assert [(each["role"], each["model"], each["run"]) for each in result["networks"]] == [
            ("student", "mlp(hidden=[6])", str(student.path)),
            ("teacher", "mlp(hidden=[16])", str(runs[1].path)),
        ]
        for each in result["networks"]:
            assert each["validation"].keys() == {"0.1", "0.01"}
            best = max(rate["value"] for rate in each["validation"].values())
            assert each["validation"][str(each["lr"])]["value"] == best
            assert each["test"]["samples"] == 500
            assert each["test"]["low"] < each["test"]["value"] < each["test"]["high"]
    assert len(list((student.path / "transfer").iterdir())) == 2
    assert same(state_of(student), weights)


def test_the_usual_setup() -> None:
    usual = limbeck.runs.transfer.SETUPS
    assert (usual["probe"].epochs, usual["finetune"].epochs) == (120, 30)
    assert all(0.05 in setup.rates for setup in usual.values())


def test_further_runs_on_request_and_a_teacher_that_is_gone(
    student: Run, runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    text = (student.path / "config.yaml").read_text().replace(str(runs[1].path), "runs/nowhere")
    (student.path / "config.yaml").write_text(text)
    (result,) = transfer(student, OTHER, also=[runs[1], str(runs[0].path)], **{**FAST, "display": True})
    left_out = (
        "the teacher 'runs/nowhere' is left out: it is no run or weights file of one that is still there"
    )
    assert left_out in capsys.readouterr().err
    assert [(each["role"], each["run"]) for each in result["networks"]] == [
        ("student", str(student.path)),
        ("also", str(runs[1].path)),
        ("also", str(runs[0].path)),
    ]
    assert result["networks"][0]["test"] == result["networks"][2]["test"]


def test_long_names_do_not_meet(student: Run) -> None:
    for seed in (0, 1):
        transfer(student, f"imbalanced(noisy_labels({OTHER}, rate=0.2), ratio=4, seed={seed})", **FAST)
    names = [file.name for file in (student.path / "transfer").iterdir()]
    assert len(names) == 2
    assert all(name.startswith("imbalanced_noisy_labels_digits_labeled=40") for name in names)


def test_data_of_the_same_name_do_not_meet(tmp_path: Path) -> None:
    run = limbeck.train(model="mlp", data=three_classes(), out=tmp_path / "run", **QUICK)
    for labeled in (60, 50):
        transfer(run, three_classes(labeled=labeled), **FAST)
    assert len(list((run.path / "transfer").iterdir())) == 2


def test_a_result_is_replaced_on_request_only(student: Run) -> None:
    first = transfer(student, OTHER, **FAST)
    with pytest.raises(LimbeckError, match=r"seed0\.json' exists; say overwrite=True"):
        transfer(student, OTHER, **FAST)
    assert transfer(student, OTHER, overwrite=True, **FAST) == first
    assert transfer(student, OTHER, seed=1, **FAST) != first


def test_a_source_and_an_imported_network(tmp_path: Path) -> None:
    network = limbeck.models.build("lenet5", example=torch.rand(1, 1, 32, 32), num_classes=7)
    torch.save(network.state_dict(), tmp_path / "lenet.pt")
    run = import_checkpoint(
        tmp_path / "lenet.pt",
        "lenet5",
        classes=7,
        shape=[1, 32, 32],
        normalization=limbeck.models.Normalization((0.5,), (0.5,)),
        out=tmp_path / "run",
    )
    images = torch.randint(0, 256, (12, 1, 32, 32), dtype=torch.uint8)
    targets = torch.arange(12) % 3
    source = limbeck.data.from_tensors(images, targets, validation=None, test=(images, targets))
    (result,) = transfer(run, source, **FAST)
    assert [each["role"] for each in result["networks"]] == ["student"]
    assert result["networks"][0]["validation"] == {}
    assert (run.path / "transfer" / f"tensors-{source.fingerprint()}-probe-seed0.json").is_file()


def test_a_new_run_in_the_same_place_clears_the_old_one_s_transfers(tmp_path: Path) -> None:
    run = limbeck.train(model="mlp", data=three_classes(), out=tmp_path / "run", **QUICK)
    transfer(run, three_classes(), **FAST)
    assert (run.path / "transfer").is_dir()
    limbeck.train(model="mlp", data=three_classes(), out=tmp_path / "run", overwrite=True, **QUICK)
    assert not (run.path / "transfer").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("breast_cancer", r"the student cannot take inputs of shape \(30,\): "),
        (
            "synthetic_digits(classes=3, images_per_class=2)",
            r"the student cannot take .*\(1, 32, 32\)",
        ),
        ("digit", "unknown data set 'digit'; did you mean 'digits'"),
    ],
)
def test_data_that_do_not_fit_are_refused(data: str, message: str, student: Run) -> None:
    with pytest.raises(LimbeckError, match=message):
        transfer(student, data, **FAST)
    assert not (student.path / "transfer").exists()


def test_a_further_run_that_does_not_fit_is_named(student: Run, tmp_path: Path) -> None:
    other = limbeck.train(model="mlp", data=three_classes(), out=tmp_path / "other", **QUICK)
    with pytest.raises(LimbeckError, match=r"the network of '.*other' cannot take .*\(1, 8, 8\)"):
        transfer(student, OTHER, also=[other], **FAST)


def test_what_has_no_weights_is_refused(student: Run, tmp_path: Path) -> None:
    (student.path / "student.safetensors").unlink()
    with pytest.raises(LimbeckError, match=r"holds no student\.safetensors; is it the directory"):
        transfer(student, OTHER, **FAST)
    with pytest.raises(LimbeckError, match=r"is no run's directory: it holds no config\.yaml"):
        transfer(tmp_path / "nowhere", OTHER, **FAST)


class TestTexts:
    @pytest.fixture
    def texts(self, tmp_path: Path) -> list[str]:
        """Two data sets of other words."""
        for name, words in (("a", ("red", "green")), ("b", ("cat", "dog"))):
            lines = [f"{words[number % 2]} {'x' * number},{number % 2}" for number in range(40)]
            (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
        return [f'text(path="{tmp_path / name}.csv")' for name in "ab"]

    def test_another_vocabulary_is_refused(self, texts: list[str], tmp_path: Path) -> None:
        run = limbeck.train(model="textcnn", data=texts[0], out=tmp_path / "run", **QUICK)
        (result,) = transfer(run, texts[0], **FAST)
        assert result["networks"][0]["test"] is not None
        with pytest.raises(LimbeckError, match=r"the student .* was trained with another tokenizer\.json"):
            transfer(run, texts[1], **FAST)
        with pytest.raises(LimbeckError, match=r"the student cannot take inputs of shape \(1, 8, 8\)"):
            transfer(run, "digits", **FAST)

    def test_a_network_of_images_is_refused(self, texts: list[str], student: Run) -> None:
        with pytest.raises(LimbeckError, match=r"cannot take .* \['attention_mask', 'input_ids'\]"):
            transfer(student, texts[0], **FAST)
