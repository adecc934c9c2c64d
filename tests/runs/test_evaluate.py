from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import (
    QUICK,
    STUDENT,
    TEACHER,
    content,
    make_student,
    make_teacher,
    plain_network,
    same,
    three_classes,
)

import limbeck
from limbeck import evaluation
from limbeck.doors import evaluate
from limbeck.errors import LimbeckError
from limbeck.evaluation import Contender, results
from limbeck.runs import Run, networks
from limbeck.runs.evaluate import of_run
from limbeck.runs.importing import import_checkpoint
from limbeck.tasks import Classification
from limbeck.tasks.classification.findings import ClassificationFindings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_teacher(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def student(run: Run, tmp_path: Path) -> Run:
    return make_student(tmp_path / "student", run)


def test_it_measures_what_the_run_had_measured(student: Run) -> None:
    at_the_end = results.read(student.path / "evaluation.json")
    assert at_the_end is not None
    assert at_the_end.student.metrics == pytest.approx(student.result.metrics.test)
    assert at_the_end.networks["teacher"].metrics == student.result.teachers["teacher"].metrics
    assert at_the_end.agreement is not None
    assert at_the_end.agreement.agreement == student.result.agreement
    assert at_the_end.samples == student.result.data.test
    for given in (student, student.path, str(student.path)):
        assert evaluate(given) == at_the_end


def test_it_names_the_networks(student: Run, run: Run) -> None:
    found = evaluate(student, baseline=run)
    named = {role: (network.name, network.run) for role, network in found.networks.items()}
    assert named == {
        "student": (STUDENT, str(student.path)),
        "teacher": (TEACHER, str(run.path)),
        "baseline": (TEACHER, str(run.path)),
    }
    assert found.networks["teacher"].intervals == found.networks["baseline"].intervals
    assert found.data.name == "digits"


def test_it_writes_the_evaluation_and_the_report(student: Run, run: Run) -> None:
    before = content(student.path)
    found = evaluate(student, suite="full", baseline=run, seed=7)
    assert (found.suite, found.seed) == ("full", 7)
    assert results.read(student.path / "evaluation.json") == found
    after = content(student.path)
    assert {name for name in after if after[name] != before.get(name)} - {"README.md"} == {
        "evaluation.json",
        "report.html",
    }


def test_it_measures_the_weights_that_are_there(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.path, tmp_path / "copy")))
    network = limbeck.load(copy)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        list(network.parameters())[-1][3] = 1.0  # every scan is a three
    metadata = limbeck.models.weights.read_metadata(run.path / "student.safetensors")
    limbeck.models.save(network, copy.path / "student.safetensors", metadata)
    targets = limbeck.data.load("digits").test.targets  # type: ignore[union-attr]
    found = evaluate(copy).student
    assert found.metrics["top1"] == pytest.approx((targets == 3).double().mean().item())
    assert isinstance(found.findings, ClassificationFindings)
    assert {pair.predicted for pair in found.findings.confusion.pairs} == {3}


def test_data_that_was_handed_over_is_handed_over_again(tmp_path: Path) -> None:
    made = limbeck.train(model="mlp", data=three_classes(), out=tmp_path / "run", **QUICK)
    with pytest.raises(LimbeckError, match="was handed over as an object; name some with data"):
        evaluate(made)
    found = evaluate(made, three_classes())
    assert found.student.metrics == pytest.approx(made.result.metrics.test)
    assert found.notes == ()
    assert results.read(made.path / "evaluation.json") == found


def test_a_teacher_that_cannot_be_had_again_is_left_out_and_told(
    student: Run, run: Run, tmp_path: Path
) -> None:
    moved = shutil.copytree(run.path, tmp_path / "teacher")
    other = make_student(tmp_path / "other", moved)
    shutil.rmtree(moved)
    before, note = (
        content(other.path),
        (f"The teacher is left out: the teacher {str(moved)!r} is no run directory and no file."),
    )
    with pytest.raises(
        LimbeckError, match=r"would lose, of the teacher; .* say overwrite=True .*\. The teacher is left"
    ):
        evaluate(other)
    assert content(other.path) == before
    found = evaluate(other, overwrite=True)
    assert list(found.networks) == ["student"]
    assert found.notes[0] == note
    assert results.read(other.path / "evaluation.json") == found


def test_networks_that_were_handed_over_are_handed_over_again(tmp_path: Path) -> None:
    teacher, source = plain_network(5), three_classes()
    run = make_student(tmp_path / "handed", teacher, data=source, student=plain_network(4))
    at_the_end = results.read(run.path / "evaluation.json")
    assert at_the_end is not None
    with pytest.raises(LimbeckError, match=r"the network of .* was handed over as an object"):
        evaluate(run, source)
    with pytest.raises(LimbeckError, match="<Sequential> was handed over as an object, and has to be again"):
        evaluate(run, source, network=plain_network(4))
    found = evaluate(run, source, network=plain_network(4), teacher=teacher)
    assert found == at_the_end
    assert [each.name for each in found.networks.values()] == ["<Sequential>"] * 2
    full = evaluate(run, source, suite="full", network=plain_network(4), teacher=teacher)
    assert results.read(run.path / "evaluation.json") == full


def test_what_was_measured_is_not_lost_silently(student: Run, run: Run) -> None:
    full = evaluate(student, suite="full", baseline=run, noise_samples=20)
    before = content(student.path)
    message = r"evaluation\.json' holds figures that this would lose, of {}; measure as much again"
    for given, lost in (
        ({}, "the baseline and the full suite"),
        ({"baseline": run}, "the full suite"),
        ({"suite": "full"}, "the baseline"),
    ):
        with pytest.raises(LimbeckError, match=message.format(lost)):
            evaluate(student, **given)
    assert content(student.path) == before
    evaluate(student, "digits(labeled=500)")  # other data are measured, and nothing is written
    assert results.read(student.path / "evaluation.json") == full
    quick = evaluate(student, overwrite=True)
    assert results.read(student.path / "evaluation.json") == quick


@pytest.mark.parametrize("name", ["metrics.jsonl", "environment.json"])
def test_what_the_report_is_made_of_is_looked_for_first(student: Run, name: str) -> None:
    (student.path / name).unlink()
    before = content(student.path)
    with pytest.raises(LimbeckError, match=name):
        evaluate(student)
    assert content(student.path) == before


def test_data_that_has_changed_is_refused(student: Run, tmp_path: Path) -> None:
    fingerprint = student.result.data.fingerprint
    data = student.result.data.model_copy(update={"fingerprint": "0" * 16})
    student.result.model_copy(update={"data": data}).write(student.path / "result.json")
    before = content(student.path)
    message = f"digits is no longer what '{student.path}' was made on: its fingerprint was 0{{16}} and is"
    with pytest.raises(LimbeckError, match=message):
        evaluate(student)
    assert content(student.path) == before
    found = evaluate(student, "digits")
    assert found.data.fingerprint == fingerprint
    assert found.notes[0] == "Measured on digits, which is not the data of the run; nothing is written."
    assert content(student.path) == before


def test_data_without_a_test_split(tmp_path: Path) -> None:
    made = limbeck.train(model="mlp", data=three_classes(test=False), out=tmp_path / "run", **QUICK)
    assert made.result.metrics.test is None
    found = results.read(made.path / "evaluation.json")
    assert found is not None
    assert found.split == "validation"
    assert found.student.metrics == pytest.approx(made.result.metrics.validation)


def test_a_suite_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(LimbeckError, match="unknown suite 'ful'; did you mean 'full'"):
        evaluate(run, suite="ful")  # type: ignore[arg-type]
    with pytest.raises(LimbeckError, match="unknown device 'gpu'; did you mean 'cpu'"):
        evaluate(run, device="gpu")


def test_data_that_has_moved_is_found_where_it_is_said_to_be(tmp_path: Path) -> None:
    rows = "".join(f"{i / 10},{i % 3},{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "cells.csv").write_text(f"size,shape,kind\n{rows}")
    given = {**QUICK, "batch_size": 10, "data": "table(path='cells.csv', label='kind')"}
    made = limbeck.train(model="mlp", out=tmp_path / "run", data_dir=tmp_path / "first", **given)
    (tmp_path / "first").rename(tmp_path / "second")
    with pytest.raises(LimbeckError, match="cells"):
        evaluate(made)
    found = evaluate(made, data_dir=tmp_path / "second")
    assert found.student.metrics == pytest.approx(made.result.metrics.test)
    assert results.read(made.path / "evaluation.json") == found


class TestBaseline:
    def test_one_of_other_data_is_refused(self, run: Run, tmp_path: Path) -> None:
        other = limbeck.train(model=STUDENT, data="digits(labeled=500)", out=tmp_path / "other", **QUICK)
        with pytest.raises(LimbeckError, match=rf"the baseline '{other.path}' was made on other data"):
            evaluate(run, baseline=other)

    def test_one_of_other_classes_is_refused(self, run: Run, tmp_path: Path) -> None:
        network = limbeck.models.build("mlp", example=torch.zeros(1, 1, 8, 8), num_classes=7)
        checkpoint = tmp_path / "seven.pt"
        torch.save(network.state_dict(), checkpoint)
        imported = import_checkpoint(
            checkpoint,
            "mlp",
            classes=7,
            shape=(1, 8, 8),
            normalization=limbeck.models.Normalization((0.3,), (0.3,)),
            out=tmp_path / "seven",
        )
        with pytest.raises(LimbeckError, match="the baseline has 7 outputs, and digits has 10 classes"):
            evaluate(run, baseline=imported)

    def test_one_without_weights_or_a_result_is_refused(self, run: Run, tmp_path: Path) -> None:
        unfinished = Path(shutil.copytree(run.path, tmp_path / "copy"))
        (unfinished / "result.json").unlink()
        with pytest.raises(LimbeckError, match="has no result yet"):
            evaluate(run, baseline=unfinished)
        (unfinished / "student.safetensors").unlink()
        with pytest.raises(LimbeckError, match=r"holds no student\.safetensors"):
            evaluate(run, baseline=unfinished)


def test_what_is_no_finished_run_is_refused(run: Run, tmp_path: Path) -> None:
    shutil.copy(run.path / "student.safetensors", tmp_path)
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "student.safetensors"):
        with pytest.raises(LimbeckError, match=rf"'{place}' is no run's directory: it holds no config\.yaml"):
            evaluate(place)
    (tmp_path / "student.safetensors").unlink()
    shutil.copy(run.path / "config.yaml", tmp_path)
    with pytest.raises(LimbeckError, match=r"holds no student\.safetensors"):
        evaluate(tmp_path)


def test_data_without_anything_to_measure_on_is_refused(run: Run) -> None:
    source = replace(limbeck.data.load("digits"), validation=None, test=None)
    with pytest.raises(LimbeckError, match="digits has neither a test nor a validation split"):
        evaluate(run, source)


class TestOtherData:
    def test_a_run_is_measured_on_the_data_that_are_named(self, run: Run) -> None:
        own = evaluate(run)
        before = content(run.path)
        other = evaluate(run, "digits(labeled=500)")
        assert other.student.metrics == own.student.metrics  # of the same test split
        assert other.data.name == "digits(labeled=500, seed=0)"
        assert content(run.path) == before
        assert evaluate(run, "digits") == own  # by its fingerprint, it is the run's own

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("digit", "unknown data set 'digit'; did you mean 'digits'"),
            ("breast_cancer", r"the student cannot take inputs of shape \(30,\): "),
        ],
    )
    def test_data_that_do_not_fit_are_refused(self, data: str, message: str, run: Run) -> None:
        with pytest.raises(LimbeckError, match=message):
            evaluate(run, data)

    def test_data_of_other_classes_are_refused(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        source = limbeck.data.load("digits")
        monkeypatch.setattr(
            limbeck.data, "load", lambda *given: replace(source, task=Classification(("a", "b")))
        )
        with pytest.raises(LimbeckError, match="the student has 10 outputs, and digits has 2 classes"):
            evaluate(run, "digits")


class TestComplexity:
    def test_it_is_measured_for_the_student_as_it_is_and_as_it_began(self, student: Run, run: Run) -> None:
        before = content(run.path)
        found = evaluate(student, complexity=30, ridge=0.01, seed=4).supervision
        assert found is not None
        assert (found.samples, found.ridge, found.seed, found.kernel) == (30, 0.01, 4, "full")
        names = ["labels", "labels, shuffled", "teacher, temperature 1", "teacher, temperature 4"]
        assert found.initial is not None
        assert list(found.trained) == list(found.initial) == names
        fresh = limbeck.models.build(STUDENT, example=torch.zeros(2, 1, 8, 8), num_classes=10)
        source = student.data()
        began = networks.student(student.config.student, source, seed=0)
        assert not same(dict(began.state_dict()), dict(fresh.state_dict())), "it is drawn from the seed"
        alone = evaluation.supervision(
            source, of_run(began, student), [], samples=30, ridge=0.01, seed=4
        ).trained
        assert found.initial["labels"] == alone["labels"]
        assert found.trained["labels"] != alone["labels"]
        assert content(run.path) == before
        written = results.read(student.path / "evaluation.json")
        assert written is not None
        assert written.supervision == found
        assert "Supervision complexity" in (student.path / "report.html").read_text()

    def test_every_checkpoint_of_a_schedule_is_measured(self, tmp_path: Path) -> None:
        settings = {"training.trackers": [], "training.keep_every": 1}
        teacher = make_teacher(tmp_path / "teacher", settings=settings)
        run = make_student(tmp_path / "run", f'checkpoints("{teacher.path}")', objective="kd")
        found = evaluate(run, complexity=20).supervision
        assert found is not None
        softened = [name for name in found.trained if name.startswith("teacher")]
        assert softened == [f"teacher after {k} epochs, temperature {t}" for k in (1, 2) for t in (1, 4)]
        source, (last, first) = run.data(), (teacher.kept[2], teacher.kept[1])
        for epochs, file in ((2, last), (1, first)):
            alone = evaluation.supervision(
                source,
                of_run(limbeck.load(run), run),
                [("it", Contender(limbeck.load(file), "it"))],
                samples=20,
            ).trained
            expected = alone["it, temperature 4"].complexity
            name = f"teacher after {epochs} epochs, temperature 4"
            assert found.trained[name].complexity == pytest.approx(expected, rel=1e-9)

    def test_it_is_not_lost_unless_that_is_said(self, student: Run) -> None:
        evaluate(student, complexity=20)
        with pytest.raises(LimbeckError, match=r"would lose, of the supervision complexity; measure as much"):
            evaluate(student)
        found = evaluate(student, overwrite=True)
        assert found.supervision is None

    def test_a_network_that_was_handed_over_did_not_tell_how_it_began(self, tmp_path: Path) -> None:
        run = limbeck.train(model=plain_network(), data=three_classes(), out=tmp_path / "run", **QUICK)
        found = evaluate(run, three_classes(), network=plain_network(), complexity=20)
        assert found.supervision is not None
        assert found.supervision.initial is None
        assert (
            "The student before its training is left out: <Sequential> was handed over as an object."
            in found.notes
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"complexity": 5000},
                r"on 2 to \d+ training samples, .* not on 5000",
            ),
            ({"complexity": 0}, "not on 0"),
            ({"ridge": 0.1}, r"a ridge is for the supervision complexity; ask for complexity"),
            ({"complexity": 20, "ridge": -0.1}, "from 0 on, not -0.1"),
        ],
    )
    def test_what_cannot_be_measured_is_refused_and_nothing_is_written(
        self, arguments: dict[str, float], message: str, student: Run
    ) -> None:
        before = content(student.path)
        with pytest.raises(LimbeckError, match=message):
            evaluate(student, **arguments)  # type: ignore[arg-type]
        assert content(student.path) == before
