from __future__ import annotations

import pytest
from evaluations_for_reports import evaluation

from limbeck.report.chart import Chart, HeatMap
from limbeck.report.measured import sections
from limbeck.report.page import Block
from limbeck.report.table import Table


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
        "Confusion",
        "Calibration",
        "Robustness to noisy inputs",
        "Fidelity to the teacher",
    ]
    assert list(blocks(full=False, teacher=False)) == ["Cost", "Confusion", "Calibration"]


def test_cost_and_its_ratio() -> None:
    costs, against = blocks()["Cost"]
    rows = {row[0]: row[1:] for row in table(costs).rows}
    assert table(costs).columns == ["cost", "student", "teacher", "baseline", "student / teacher"]
    assert rows["parameters"] == [650, 26000, 650, "0.025"]
    assert rows["multiply-adds a sample"] == [13000, 520000, 13000, "0.025"]
    assert rows["weights on disk (MB)"][:2] == [0.0036, 0.105]
    assert rows["latency, batch 32 (ms)"][:2] == [0.65, 26.0]
    assert [list(trace.x) for trace in chart(against).traces] == [[13000], [520000], [13000], [13000, 520000]]
    # 310 of 360 right, five points to each side
    assert list(chart(against).traces[0].low or ()) == [pytest.approx(100 * (311 / 360 - 0.05))]


def test_cost_alone_and_in_the_quick_suite() -> None:
    (costs,) = blocks(full=False, teacher=False)["Cost"]
    assert table(costs).columns == ["cost", "student"]
    assert [row[0] for row in table(costs).rows] == [
        "parameters",
        "multiply-adds a sample",
        "weights on disk (MB)",
    ]


def test_confusion_of_few_classes_is_a_matrix() -> None:
    matrix, by_class, pairs = blocks()["Confusion"]
    assert heat_map(matrix).values[1][:3] == (0, 31, 5)
    assert heat_map(matrix).shades[1][2] == pytest.approx((5 / 36) ** 0.5)
    student, teacher = chart(by_class).traces
    assert list(student.x) == ["2", "5", "8", "1", "4", "7", "0", "3", "6", "9"]  # the least known first
    assert student.y[0] == pytest.approx(100 * 30 / 36)
    assert teacher.y[0] == pytest.approx(100 * 34 / 36)
    assert table(pairs).rows[0] == ["8", "9", 6, 36]


def test_confusion_of_many_classes_is_a_list() -> None:
    by_class, pairs = blocks(classes=30)["Confusion"]
    assert len(chart(by_class).traces[0].x) == 20
    assert "The 20 that the student knows least." in chart(by_class).caption
    assert len(table(pairs).rows) == 10


def test_calibration() -> None:
    reliability, sure, confidence = blocks()["Calibration"]
    student = chart(reliability).traces[0]
    assert list(student.x)[::14] == pytest.approx([100 * (0.3 + 0.7 / 30), 100 * (1 - 0.7 / 30)])
    assert student.y[0] == pytest.approx(student.x[0] - 8)  # type: ignore[operator]
    assert chart(reliability).traces[-1].kind == "guide"
    assert chart(sure).traces[0].y[0] == pytest.approx(100 / 30)
    assert chart(sure).traces[0].y[-1] == pytest.approx(100 * 29 / 30)
    assert table(confidence).rows[0] == ["student", "4.0", "0.500", "1.25", "1.0", "0.420"]


def test_robustness_begins_with_the_same_samples_without_noise() -> None:
    found = evaluation()
    networks = {role: its.model_copy(update={"noiseless": 0.9}) for role, its in found.networks.items()}
    parts = {it.heading: it.body for it in sections(found.model_copy(update={"networks": networks}))}
    for drawn in parts["Robustness to noisy inputs"][1:]:
        assert [trace.y[0] for trace in chart(drawn).traces] == [90, 90, 90]


def test_robustness() -> None:
    _, mean, gaussian, *others = blocks()["Robustness to noisy inputs"]
    assert [chart(each).title for each in others] == ["Salt and pepper", "JPEG"]
    student = chart(gaussian).traces[0]
    assert list(student.x) == [0, 1, 2, 3, 4, 5]
    clean = 100 * 311 / 360
    assert list(student.y) == pytest.approx([clean * (1 - 0.15 * severity) for severity in range(6)])
    assert chart(mean).traces[0].y[1] == pytest.approx(clean * (1 - (0.15 + 0.12 + 0.02) / 3))
    assert chart(mean).from_zero


def test_fidelity() -> None:
    measures, correlations, stages = blocks()["Fidelity to the teacher"]
    assert [row[:2] for row in table(measures).rows] == [
        ["agreement (%)", "90.0"],
        ["KL divergence (nats)", "0.321"],
        ["class correlations", "0.050"],
        ["CKA of embeddings", "0.800"],
    ]
    assert heat_map(correlations).values[1][:3] == (-0.05, 0.0, -0.05)
    assert heat_map(correlations).shades[1][:3] == [-1, 0, -1]
    assert "The darkest cell is 0.05 away from 0." in heat_map(correlations).caption
    assert heat_map(stages).rows == ["stage 1", "stage 2"]
    assert heat_map(stages).columns == ["stage 1", "stage 2", "stage 3"]
    assert len(blocks(full=False)["Fidelity to the teacher"]) == 2
    assert len(blocks(full=False, classes=30)["Fidelity to the teacher"]) == 1
