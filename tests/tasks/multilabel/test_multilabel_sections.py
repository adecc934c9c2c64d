"""What a report and a model card say of networks that give labels."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Agreement, Multilabel
from limbeck.tasks.multilabel.findings import MultilabelFindings
from limbeck.tasks.sections import Lines, Table

LABELS = Multilabel(("cat", "dog", "fish"))
TARGETS = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]])


def findings(logits: Tensor, targets: Tensor = TARGETS) -> MultilabelFindings:
    meter = Multilabel(tuple(map(str, range(targets.shape[1])))).meter()
    meter.update(Outputs(logits=logits), Batch(logits, targets))
    return meter.findings(None)


STUDENT = findings(torch.tensor([[1.0, 1.0, -1.0], [2.0, 2.0, -1.0], [-1.0, -1.0, -2.0], [3.0, -2.0, -3.0]]))
TEACHER = findings(torch.where(TARGETS == 1, 2.0, -2.0))


def test_curves_are_of_all_networks_together_and_of_the_students_labels() -> None:
    precision, *_ = LABELS.sections({"student": STUDENT, "teacher": TEACHER}, None)
    together, apart = precision.figures
    assert isinstance(together, Lines)
    assert isinstance(apart, Lines)
    assert [(line.name, line.points, line.role) for line in together.lines] == [
        ("student", STUDENT.curve, "student"),
        ("teacher", TEACHER.curve, "teacher"),
    ]
    assert TEACHER.curve == ((1, 1), (1, 5 / 12))
    assert [(line.name, line.points) for line in apart.lines] == [
        ("cat", STUDENT.labels[0].curve),
        ("dog", STUDENT.labels[1].curve),
    ]
    assert apart.notes == "The 2 labels with the most samples."


def test_tables_are_of_decisions_and_of_labels() -> None:
    _, labels = LABELS.sections({"student": STUDENT}, None)
    decisions, by_label = labels.figures
    assert isinstance(decisions, Table)
    assert isinstance(by_label, Table)
    # cat is right; of the dogs one is found and one not, and one is where none is; there is no fish
    assert list(decisions.rows) == [
        ["student, 0.5", "75.0", "80.0", "16.7"],
        ["student, by label", "75.0", "80.0", "16.7"],
    ]
    assert list(by_label.columns) == ["label", "samples", "AP", "F1", "threshold"]
    assert list(by_label.rows) == [
        ["cat", "3", "100.0", "100.0", "0.50"],
        ["dog", "2", "58.3", "50.0", "0.50"],
        ["fish", "0", None, None, "0.50"],
    ]


def test_a_table_of_several_networks_says_whose_a_column_is() -> None:
    _, labels = LABELS.sections({"student": STUDENT, "teacher": TEACHER}, None)
    by_label = labels.figures[1]
    assert isinstance(by_label, Table)
    assert list(by_label.columns[2:]) == [
        *("AP (student)", "F1 (student)", "threshold (student)"),
        *("AP (teacher)", "F1 (teacher)", "threshold (teacher)"),
    ]
    assert list(by_label.rows[1][5:]) == ["100.0", "100.0", "0.50"]


def test_of_many_labels_those_with_the_most_samples_are_shown() -> None:
    targets = (torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) < torch.arange(60) / 60).long()
    found = findings(torch.rand(40, 60), targets)
    many = Multilabel(tuple(f"label {place}" for place in range(60)))
    precision, labels = many.sections({"student": found}, None)
    by_label, apart = labels.figures[1], precision.figures[1]
    assert isinstance(by_label, Table)
    assert isinstance(apart, Lines)
    counts = sorted(targets.sum(0).tolist(), reverse=True)
    assert [row[1] for row in by_label.rows] == list(map(str, counts[:50]))
    assert by_label.notes.endswith("The 50 labels with the most samples.")
    assert len(apart.lines) == 8
    assert min(int(targets.sum(0)[many.names.index(line.name)]) for line in apart.lines) == counts[7]


def test_agreement_is_a_sentence() -> None:
    *_, agreement = LABELS.sections({"student": STUDENT}, Agreement(agreement=0.915, distance=0.0512))
    assert agreement.title == "Agreement with the teacher"
    assert agreement.text == (
        "Student and teacher decide alike on 91.5 % of the (sample, label) pairs, with the threshold 0.5. "
        "The mean divergence KL(teacher, student) of a pair is 0.051 nats."
    )


def test_a_model_card_names_the_worst_label_and_what_is_not_known() -> None:
    assert LABELS.weaknesses(STUDENT) == (
        "It is weakest on `dog`: an average precision of 58.3 %, where 2 of 4 samples have the label.",
        "No sample has `fish`, so nothing is known there.",
    )


def test_it_is_remarked_where_no_threshold_was_chosen() -> None:
    assert LABELS.remarks({"student": STUDENT}, validation=True) == ()
    assert LABELS.remarks({"student": STUDENT}, validation=False) == (
        "All thresholds are 0.5: the data has no validation split to choose others on.",
    )
