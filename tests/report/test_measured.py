from __future__ import annotations

import pytest
from evaluations_for_reports import evaluation

from limbeck.evaluation.results import Supervision
from limbeck.report.chart import Chart, HeatMap
from limbeck.report.measured import sections
from limbeck.report.page import Block
from limbeck.report.supervision import supervision
from limbeck.report.table import Table
from limbeck.tasks import Classification, Metric


def blocks(**changes: object) -> dict[str, list[Block]]:
    return {it.heading: list(it.body) for it in sections(evaluation(**changes))}  # type: ignore[arg-type]


def chart(block: Block) -> Chart:
    assert isinstance(block, Chart)
    return block


def table(block: Block) -> Table:
    assert isinstance(block, Table)
    return block


def heat_map(block: Block) -> HeatMap:
    assert isinstance(block, HeatMap)
    return block


def test_what_was_not_measured_is_left_out() -> None:
    assert list(blocks()) == [
        "Cost",
        "Agreement with the teacher",
        "Robustness to noisy inputs",
        "Confusion",
        "Calibration",
        "Class correlations",
    ]
    assert list(blocks(full=False, teacher=False)) == ["Cost", "Confusion", "Calibration"]


def test_notes_come_last() -> None:
    found = evaluation().model_copy(update={"notes": ("No noise: the inputs are text.",)})
    last = sections(found)[-1]
    assert (last.heading, last.body) == ("What was left out", ["No noise: the inputs are text."])


def test_supervision_is_a_row_for_each_kind_of_targets() -> None:
    both = {"labels": {"complexity": 2.5, "relative": 1.25}, "teacher": {"complexity": 0.0, "relative": None}}
    its = Supervision.model_validate(
        {"samples": 128, "seed": 0, "ridge": 1e-4, "kernel": "mean", "trained": both, "initial": both}
    )
    found = evaluation().model_copy(update={"supervision": its})
    (section,) = [each for each in sections(found) if each.heading == "Supervision complexity"]
    (shown,) = map(table, section.body)
    assert shown.columns == ["targets", "trained", "trained, relative", "initial", "initial, relative"]
    assert shown.rows == [["labels", "2.5", "1.25", "2.5", "1.25"], ["teacher", "0", None, "0", None]]
    assert shown.notes.startswith("Of 128 training samples, with the mean of the kernel over the outputs and")
    assert "reconstruction of 2301.12245" in shown.notes
    (alone,) = supervision(found.model_copy(update={"supervision": its.model_copy(update={"initial": None})}))
    assert table(alone).columns == ["targets", "trained", "trained, relative"]


def test_cost_and_its_ratio() -> None:
    costs, against = blocks()["Cost"]
    rows = {row[0]: row[1:] for row in table(costs).rows}
    assert table(costs).columns == ["cost", "student", "teacher", "baseline", "student / teacher"]
    assert rows["parameters"] == [650, 26000, 650, "0.025"]
    assert rows["multiply-adds a sample"] == [13000, 520000, 13000, "0.025"]
    assert rows["weights on disk (MB)"][:2] == [0.0036, 0.105]
    assert rows["latency, batch 32 (ms)"][:2] == [0.65, 26.0]
    assert chart(against).title == "Top-1 against cost"
    assert [list(trace.x) for trace in chart(against).traces] == [[13000], [520000], [13000], [13000, 520000]]
    # 310 of 360 right, five points to each side
    assert list(chart(against).traces[0].low or ()) == [pytest.approx(100 * (311 / 360 - 0.05))]
    assert "Wilson" in chart(against).caption


def test_a_metric_without_an_interval_has_no_bars() -> None:
    found = evaluation()
    networks = {role: its.model_copy(update={"intervals": {}}) for role, its in found.networks.items()}
    parts = {it.heading: it.body for it in sections(found.model_copy(update={"networks": networks}))}
    against = chart(parts["Cost"][1])
    assert against.traces[0].low is None
    assert "Wilson" not in against.caption


def test_cost_alone_and_in_the_quick_suite() -> None:
    (costs,) = blocks(full=False, teacher=False)["Cost"]
    assert table(costs).columns == ["cost", "student"]
    assert [row[0] for row in table(costs).rows] == [
        "parameters",
        "multiply-adds a sample",
        "weights on disk (MB)",
    ]


def test_the_sections_of_the_task_are_drawn() -> None:
    matrix, by_class, f1, pairs = blocks()["Confusion"]
    assert heat_map(matrix).values[1][:3] == (0, 31, 5)
    assert heat_map(matrix).shades[1][2] == pytest.approx((5 / 36) ** 0.5)
    student, teacher = chart(by_class).traces
    assert chart(by_class).horizontal
    assert list(student.x) == list("0123456789")  # as in the matrix
    assert [student.y[2], teacher.y[2]] == [pytest.approx(100 * 30 / 36), pytest.approx(100 * 34 / 36)]
    assert table(f1).columns[-2:] == ["F1 of the teacher (%)", "F1 of the baseline (%)"]
    assert len(table(f1).rows) == 10
    assert table(pairs).rows[0] == ["8", "9", "6", "36"]
    says, reliability, _, confidence = blocks()["Calibration"]
    assert str(says).startswith("The student's confidence is 4.0 percentage points away")
    assert chart(reliability).traces[0].y[0] == pytest.approx(chart(reliability).traces[0].x[0] - 8)  # type: ignore[operator]
    assert chart(reliability).traces[-1].kind == "guide"
    assert table(confidence).rows[0] == ["student", "4.0", "0.500", "1.25", "1.0", "0.420"]
    _, correlations = blocks()["Class correlations"]
    assert heat_map(correlations).values[1][:3] == (-0.05, 0.0, -0.05)
    assert heat_map(correlations).shades[1][:3] == [-1, 0, -1]


def test_robustness_begins_with_the_same_samples_without_noise() -> None:
    found = evaluation()
    networks = {role: its.model_copy(update={"noiseless": 0.9}) for role, its in found.networks.items()}
    parts = {it.heading: it.body for it in sections(found.model_copy(update={"networks": networks}))}
    for drawn in parts["Robustness to noisy inputs"][1:]:
        assert [trace.y[0] for trace in chart(drawn).traces] == [90, 90, 90]


def test_robustness() -> None:
    says, mean, gaussian, *others = blocks()["Robustness to noisy inputs"]
    assert str(says).startswith("Top-1 on the same samples")
    assert [chart(each).title for each in others] == ["Salt and pepper", "JPEG"]
    student = chart(gaussian).traces[0]
    assert list(student.x) == [0, 1, 2, 3, 4, 5]
    clean = 100 * 311 / 360
    assert list(student.y) == pytest.approx([clean * (1 - 0.15 * severity) for severity in range(6)])
    assert chart(mean).traces[0].y[1] == pytest.approx(clean * (1 - (0.15 + 0.12 + 0.02) / 3))
    assert chart(mean).from_zero
    assert chart(mean).y_label == "top-1 (%)"


def test_curves_are_in_the_unit_of_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "metrics", (Metric("top1", "hits", unit="of 1"),))
    _, mean, *_ = blocks()["Robustness to noisy inputs"]
    assert chart(mean).y_label == "hits (of 1)"
    assert chart(mean).traces[0].y[0] == pytest.approx(311 / 360)


def test_agreement() -> None:
    measures, stages = blocks()["Agreement with the teacher"]
    assert table(measures).rows == [
        ["agreement (%)", "90.0", "share of the rows that both decide alike"],
        ["distance of the answers", "0.321", "mean KL(teacher, student) in nats"],
        ["CKA of embeddings", "0.800", "1 if equal up to rotation and scale"],
    ]
    assert heat_map(stages).rows == ["stage 1", "stage 2"]
    assert heat_map(stages).columns == ["stage 1", "stage 2", "stage 3"]
    assert len(blocks(full=False)["Agreement with the teacher"]) == 1


def test_a_task_without_decisions_has_a_distance_alone() -> None:
    found = evaluation()
    assert found.agreement is not None
    undecided = found.agreement.model_copy(update={"agreement": None})
    parts = {
        it.heading: it.body for it in sections(found.model_copy(update={"agreement": undecided, "cka": None}))
    }
    (measures,) = parts["Agreement with the teacher"]
    assert [row[0] for row in table(measures).rows] == ["distance of the answers"]
