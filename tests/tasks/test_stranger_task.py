"""A task of another package, `limbeck_ordinal`: one file and an entry point, from data to a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import limbeck_ordinal
import numpy as np
import onnxruntime
import pytest
import torch
from command import Command
from limbeck_ordinal import Ordinal, OrdinalFindings, OrdinalMeter
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import limbeck
from limbeck import LimbeckError, data, plugins
from limbeck.evaluation import results
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.runs.exporting import export
from limbeck.tasks import from_record, named

NAMES = ("poor", "fair", "good", "best")
GRADES = Ordinal(NAMES)


@pytest.fixture(autouse=True)
def ordinal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is installed for one test."""
    metadata = tmp_path / "installed" / "limbeck_ordinal-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: limbeck_ordinal\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[limbeck.tasks]\nordinal = limbeck_ordinal:Ordinal\n")
    monkeypatch.syspath_prepend(metadata.parent)
    plugins.forget()
    yield
    plugins.forget()


def samples(count: int = 240, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of three numbers, and a grade that follows from their sum."""
    inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return inputs, torch.bucketize(inputs.sum(1), torch.tensor([-1.5, 0.0, 1.5]))


def batch(targets: Tensor) -> Batch:
    return Batch(torch.zeros(len(targets), 3), targets)


def test_it_is_a_task_by_its_entry_point() -> None:
    (point,) = (each for each in entry_points(group="limbeck.tasks") if each.name == "ordinal")
    assert point.load() is Ordinal
    assert named("ordinal") is Ordinal
    assert from_record(json.loads(json.dumps(GRADES.record()))) == GRADES
    assert (GRADES.width, GRADES.columns, GRADES.summary) == (3, 2, "4 grades")
    assert Ordinal.of_width(3).names == ("0", "1", "2", "3")


def test_rows_are_thresholds() -> None:
    logits = torch.tensor([[2.0, -1.0, -3.0], [0.5, 0.0, 1.0], [1.0, 1.0, 1.0]])
    targets = torch.tensor([1, 3, UNLABELED])
    rows = GRADES.rows(batch(targets), Outputs(logits=logits))
    assert rows.targets is not None
    assert rows.targets.tolist() == [1, 0, 0, 1, 1, 1, *[UNLABELED] * 3]
    assert rows.sample is not None
    assert rows.sample.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    above = torch.tensor([[1.0, 0, 0], [1, 1, 1]])
    torch.testing.assert_close(
        cross_entropy(rows.logits(logits), rows.targets), binary_cross_entropy_with_logits(logits[:2], above)
    )


def test_metrics() -> None:
    meter = OrdinalMeter(4)
    targets = torch.tensor([0, 1, 2, 3, UNLABELED])
    answers = torch.tensor([0, 1, 3, 1, 2])
    logits = (answers[:, None] > torch.arange(3)).float() - 0.5
    meter.update(Outputs(logits=logits[:2]), batch(targets[:2]))
    meter.update(Outputs(logits=logits[2:]), batch(targets[2:]))
    # observed: 1 + 4; by chance, with the answers 0, 1, 1, 3: sum of (t - a)^2 over all 16 pairs, over 4
    squares = sum((target - answer) ** 2 for target in range(4) for answer in (0, 1, 3, 1)) / 4
    assert meter.compute() == pytest.approx({"mae": 3 / 4, "accuracy": 1 / 2, "kappa": 1 - 5 / squares})
    with pytest.raises(LimbeckError, match="no sample has a grade"):
        OrdinalMeter(4).compute()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0.5, 1.0], "should be grades, integers"),
        ([[0, 1]] * 2, "should be grades, integers"),
        ([0, 4], "the training target 4 at position 1 should be 0 to 3"),
        ([0, -1], "the training target -1 at position 1 should be 0 to 3"),
        ([0], "there are 2 training inputs but 1 targets"),
    ],
)
def test_refuses(targets: list[Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        data.from_tensors(torch.randn(2, 3), targets, task="ordinal", names=NAMES, validation=None)


def test_the_base_class_refuses_other_shapes() -> None:
    with pytest.raises(
        LimbeckError,
        match=r"outputs of the student .* \(2, 4\), and the task ordinal with 4 grades takes \(B, 3\)",
    ):
        GRADES.check_outputs(torch.zeros(2, 4), "student")
    with pytest.raises(
        LimbeckError, match=r"batch of 2 must be int64 of shape \(2,\), not float32 of shape \(2, 1\)"
    ):
        GRADES.check_batch(torch.zeros(2, 1), 2)
    GRADES.check_outputs(torch.zeros(2, 3), "student")
    GRADES.check_batch(torch.zeros(2, dtype=torch.int64), 2)


def test_from_tensors_to_a_report(tmp_path: Path) -> None:
    inputs, targets = samples()
    held = samples(80, seed=1)
    source = data.from_tensors(
        inputs, targets, task="ordinal", names=NAMES, validation=0.2, test=held, name="grades"
    )
    assert source.task == GRADES
    settings: dict[str, Any] = {
        "epochs": 8,
        "batch_size": 32,
        "data": source,
        "settings": {"training.trackers": []},
        "display": False,
    }
    teacher = limbeck.train(model="mlp(hidden=[16])", out=tmp_path / "teacher", **settings)
    student = limbeck.distill(
        student="mlp(hidden=[4])",
        teacher=str(tmp_path / "teacher"),
        objective="0.5*ce + 0.5*kd(temperature=2)",
        out=tmp_path / "student",
        **settings,
    )
    assert teacher.result.metrics.test is not None
    assert student.result.metrics.test is not None
    assert list(student.result.metrics.test) == ["mae", "accuracy", "kappa"]
    constant = min(float((held[1] - grade).abs().double().mean()) for grade in range(4))
    assert teacher.result.metrics.test["mae"] < constant / 2
    assert student.result.metrics.test["mae"] < constant

    evaluation = results.read(student.path / "evaluation.json")
    assert evaluation is not None
    found = evaluation.student
    assert isinstance(found.findings, OrdinalFindings)
    assert sum(map(sum, found.findings.counts)) == 80
    assert found.metrics == student.result.metrics.test

    network = limbeck.load(student.path)
    with torch.no_grad():
        mine = network(inputs)
    wrong = (limbeck_ordinal.ranks(network(held[0])) - held[1]).abs().double().mean()
    assert found.metrics["mae"] == pytest.approx(float(wrong))

    export(student, "onnx", data=source)
    session = onnxruntime.InferenceSession(student.path / "student.onnx")
    (exported,) = session.run(["logits"], {"inputs": inputs.numpy()})
    np.testing.assert_allclose(exported, mine.numpy(), atol=1e-5)
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept["names"]) == ["above poor", "above fair", "above good"]
    assert json.loads(kept["preprocessing"])["output"]["shape"] == ["batch", 3]

    report = (student.path / "report.html").read_text(encoding="utf-8")
    assert "Answers of the student" in report
    assert "mean rank error" in report
    assert "`above poor`, `above fair`, `above good`" in (student.path / "README.md").read_text()


def test_from_a_table_on_the_command_line(tmp_path: Path, command: Command) -> None:
    inputs, targets = samples(120)
    lines = [
        ",".join([*map(str, row), NAMES[grade]]) for row, grade in zip(inputs.tolist(), targets, strict=True)
    ]
    (tmp_path / "grades.csv").write_text("\n".join(["a,b,c,grade", *lines]))
    names = json.dumps(NAMES)
    source = f'table(path="grades.csv", label="grade", task="ordinal", names={names})'
    short = ("--data", source, "--epochs", "2", "--set", "training.trackers=[]")
    assert command("train", "--model", "mlp(hidden=[8])", "--out", "teacher", *short).code == 0
    made = command(
        "distill", "--student", "mlp(hidden=[4])", "--teacher", "teacher", "--out", "student", *short
    )
    assert made.code == 0, made.err
    assert "0.5*ce + 0.5*kd(temperature=2)" in made.out
    assert "mean rank error" in made.out
    measured = command("evaluate", "student", "--overwrite")
    assert measured.code == 0, measured.err
    assert "weighted kappa" in measured.out

    (tmp_path / "installed" / "limbeck_ordinal-1.0.dist-info" / "entry_points.txt").write_text("")
    plugins.forget()
    refused = command("evaluate", "student", "--overwrite")
    assert refused.code == 2
    assert "the package 'limbeck_ordinal' brings it, so install that" in refused.err


def test_a_record_names_the_package_that_is_missing(tmp_path: Path) -> None:
    record = json.loads(json.dumps(GRADES.record()))
    assert record["package"] == "limbeck_ordinal"
    assert from_record(record) == GRADES
    (tmp_path / "installed" / "limbeck_ordinal-1.0.dist-info" / "entry_points.txt").write_text("")
    plugins.forget()
    with pytest.raises(LimbeckError) as caught:
        from_record(record)
    assert str(caught.value) == (
        "the task 'ordinal' is not installed here; the package 'limbeck_ordinal' brings it, so install that"
    )
    with pytest.raises(LimbeckError, match=r"unknown task 'ordinal'.*; if a package brings it, install"):
        from_record({name: value for name, value in record.items() if name != "package"})
