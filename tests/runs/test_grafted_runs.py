"""Runs whose student answers by the teacher's classifier: the whole is measured, written and had back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import (
    QUICK,
    catch_job,
    make_student,
    plain_network,
    same,
    state_of,
    three_classes,
    timeless,
    without_times,
)
from torch import Tensor, nn
from typer.testing import CliRunner

import limbeck
from interrupting import interrupted_after
from limbeck import data, models
from limbeck.cli.app import app
from limbeck.data import Source
from limbeck.doors import evaluate
from limbeck.errors import LimbeckError
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models.weights import read_metadata
from limbeck.runs import Run

STUDENT = "cnn(channels=[2,4])"
SETTINGS: dict[str, Any] = {
    "student": STUDENT,
    "objective": "simkd",
    "epochs": 4,
    "batch_size": 50,
    "lr": 0.5,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    return limbeck.train(model="cnn(channels=[8, 16])", out=out, **{**QUICK, "epochs": 5, "batch_size": 50})


@pytest.fixture(scope="module")
def run(teacher: Run) -> Run:
    return make_student(teacher.path.parent / "student", teacher, **SETTINGS)


def share_right(logits: Tensor, targets: Tensor | None) -> float:
    assert targets is not None
    return (logits.argmax(1) == targets).double().mean().item()


def on_test(network: nn.Module) -> tuple[Tensor, float]:
    """The network's logits for the digits' test scans, and the share that is right."""
    test = data.load("digits").test
    assert test is not None
    batch = next(iter(data.Loader(test, 500, shuffle=False)))
    with torch.no_grad():
        logits: Tensor = network(batch.inputs)
    return logits, share_right(logits, batch.targets)


def test_what_is_measured_is_what_is_shipped(run: Run, teacher: Run) -> None:
    shipped = limbeck.load(run)
    assert isinstance(shipped, GraftedStudent)
    assert not any(module.training for module in shipped.modules())
    found = on_test(shipped)[1]
    assert run.result.metrics.on("test")["top1"] == pytest.approx(found)
    assert found > on_test(shipped.student)[1] + 0.2, "the student's own classifier has learned nothing"
    assert run.result.student.parameters == models.count_parameters(shipped)
    assert run.history[-1]["validation"] == run.result.metrics.validation
    assert run.history[-1]["validation"]["top1"] > run.history[0]["validation"]["top1"]
    assert [line["terms"].keys() for line in run.history] == [{"total", "simkd"}] * 4
    classifier = limbeck.load(teacher).get_submodule("classifier").state_dict()
    assert same(shipped.classifier.state_dict(), classifier)
    measured = evaluate(run)
    assert measured.student.metrics == pytest.approx(run.result.metrics.test)
    assert measured.student.cost.parameters == models.count_parameters(shipped)
    assert measured.cka is not None
    assert measured.cka.embedding is not None


def test_it_is_had_back_without_the_teacher(run: Run, tmp_path: Path) -> None:
    logits = on_test(limbeck.load(run))[0]
    shutil.copy(run.path / "student.safetensors", tmp_path)
    assert torch.equal(on_test(limbeck.load(tmp_path / "student.safetensors"))[0], logits)
    copy = Run(Path(shutil.copytree(run.path, tmp_path / "run")))
    config = copy.path / "config.yaml"
    config.write_text(config.read_text().replace(str(copy.config.teacher.model), "runs/gone"))  # type: ignore[union-attr]
    assert torch.equal(on_test(limbeck.load(copy))[0], logits)
    again = evaluate(copy, overwrite=True)
    assert again.student.metrics["top1"] == pytest.approx(run.result.metrics.on("test")["top1"])


def test_it_is_the_network_that_was_trained(
    teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = catch_job(monkeypatch)
    objective = "0.1*ce + simkd(factor=4)"
    run = make_student(tmp_path / "run", teacher, **{**SETTINGS, "objective": objective})
    shipped = jobs[0].distiller.eval().deploy()
    assert same(state_of(run), shipped.state_dict())
    assert torch.equal(on_test(limbeck.load(run))[0], on_test(shipped)[0])


def test_a_run_that_was_interrupted_ends_as_if_nothing_had_happened(
    run: Run, teacher: Run, tmp_path: Path
) -> None:
    with interrupted_after(2):
        make_student(tmp_path / "run", teacher, **SETTINGS)
    resumed = limbeck.distill(out=tmp_path / "run", resume=True, display=False)
    assert (resumed.path / "student.safetensors").read_bytes() == (
        run.path / "student.safetensors"
    ).read_bytes()
    assert timeless(resumed.history) == timeless(run.history)
    assert without_times(resumed.result) == without_times(run.result)


def test_the_best_epoch_is_that_of_what_is_shipped(teacher: Run, tmp_path: Path) -> None:
    settings = {**QUICK["settings"], "training.selection": "validation"}
    run = make_student(tmp_path / "run", teacher, **SETTINGS, settings=settings)
    best = max(line["validation"]["top1"] for line in run.history)
    assert run.result.metrics.on("validation")["top1"] == best


def test_it_may_teach_another_student(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = catch_job(monkeypatch)
    taught = make_student(tmp_path / "taught", run, student=STUDENT, objective="ce + kd + srrl")
    assert taught.result.teachers["teacher"].metrics == pytest.approx(run.result.metrics.test)
    assert jobs[0].distiller.teacher is not None
    network = jobs[0].distiller.teacher.network
    assert network is not None
    assert torch.equal(on_test(network)[0], on_test(limbeck.load(run))[0]), "normalized only once"


def test_it_may_be_trained_on(run: Run, tmp_path: Path) -> None:
    further = limbeck.train(model=str(run.path), out=tmp_path / "further", **QUICK)
    shipped = limbeck.load(further)
    assert isinstance(shipped, GraftedStudent)
    assert further.result.metrics.on("test")["top1"] == pytest.approx(on_test(shipped)[1])
    card = read_metadata(further.path / "student.safetensors")["limbeck"]
    assert json.loads(card)["model"] == STUDENT


def test_the_student_inside_is_not_taken_for_the_whole(run: Run, tmp_path: Path) -> None:
    weights = {"teacher.weights": str(run.path / "student.safetensors")}
    with pytest.raises(LimbeckError, match=r"does not fit cnn.* 12 missing .* 32 unexpected"):
        limbeck.distill(student="mlp", teacher=STUDENT, out=tmp_path / "taught", settings=weights)


def test_a_student_that_was_handed_over_is_given_back_in_one_like_it(tmp_path: Path) -> None:
    source, teacher = three_classes(), plain_network(8)
    for objective, kind in (("simkd(at='embedding')", GraftedStudent), ("ce + kd", nn.Sequential)):
        out = tmp_path / kind.__name__
        run = limbeck.distill(
            student=plain_network(), teacher=teacher, data=source, objective=objective, out=out, **QUICK
        )
        with pytest.raises(
            LimbeckError, match=r"handed over as an object .* limbeck\.load\(run, network=\.\.\.\)"
        ):
            limbeck.load(run)
        fresh = plain_network()
        shipped = limbeck.load(run, network=fresh)
        assert type(shipped) is kind
        assert same(shipped.state_dict(), state_of(run))
        assert right(shipped, source) == pytest.approx(run.result.metrics.on("test")["top1"])
        with pytest.raises(LimbeckError, match="does not fit"):
            limbeck.load(run, network=plain_network(5))


def right(network: nn.Module, source: Source) -> float:
    """Share of the test rows that the network is right about."""
    assert source.test is not None
    batch = next(iter(data.Loader(source.test, 100, shuffle=False)))
    with torch.no_grad():
        return share_right(network(batch.inputs), batch.targets)


def test_what_a_method_of_the_user_s_own_ships_has_no_name(tmp_path: Path) -> None:
    class Squashed(limbeck.Method):
        """Ships probabilities."""

        def forward(self, student: limbeck.Outputs, teacher: limbeck.Outputs, batch: limbeck.Batch) -> Any:
            return student.logits.square().mean()

        def deploy(self, student: nn.Module) -> nn.Module:
            return nn.Sequential(student, nn.Softmax(1))

    objective = limbeck.objective.parse("ce") + Squashed()
    run = limbeck.train(model="mlp", data=three_classes(), objective=objective, out=tmp_path / "run", **QUICK)
    with pytest.raises(LimbeckError, match="handed over as an object"):
        limbeck.load(run)
    build = models.build("mlp", example=torch.rand(1, 4), num_classes=3)
    shipped = limbeck.load(run, network=nn.Sequential(build, nn.Softmax(1)))
    torch.testing.assert_close(shipped(torch.rand(2, 4)).sum(1), torch.ones(2))


def test_on_the_command_line(teacher: Run, tmp_path: Path) -> None:
    cli, out = CliRunner(), str(tmp_path / "run")
    given = f"distill --student={STUDENT} --teacher={teacher.path} --objective=simkd --epochs=1 --out={out}"
    made = cli.invoke(app, [*given.split(), "--set", "training.trackers=[]"])
    assert made.exit_code == 0, made.output
    measured = cli.invoke(app, ["evaluate", out])
    assert measured.exit_code == 0
    assert f"{100 * Run(Path(out)).result.metrics.on('test')['top1']:.2f} " in measured.output
    inspected = cli.invoke(app, ["inspect", out])
    assert "GraftedStudent" in inspected.output
    assert "classifier:input" in inspected.output
