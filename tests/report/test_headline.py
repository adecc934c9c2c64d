from __future__ import annotations

from evaluations_for_reports import evaluation
from runs_for_reports import result

from limbeck.report.headline import compact, lead, tiles


def shown(**changes: bool) -> dict[str, str]:
    return {
        tile.label: f"{tile.value} {tile.unit}".strip().replace("\N{MULTIPLICATION SIGN}", " times")
        for tile in tiles(result(), evaluation(**changes))
    }


def test_tiles_are_what_to_decide_by() -> None:
    assert shown() == {
        "Accuracy": "86.4 %",
        "Against teacher": "\N{MINUS SIGN}11.1 points",
        "Against baseline": "+13.9 points",
        "Multiply-adds": "40 times fewer",
        "Parameters": "40 times fewer",
        "Latency, one sample": "0.163 ms",
    }
    assert "Latency, one sample" not in shown(full=False)
    assert list(shown(teacher=False)) == ["Accuracy", "Multiply-adds"]
    assert tiles(result(), None) == []


def test_notes_of_the_tiles() -> None:
    notes = [tile.note.replace("\N{NO-BREAK SPACE}", " ") for tile in tiles(result(), evaluation())]
    assert notes[0] == "81.4 to 91.4 % on 360 test samples"
    assert notes[1] == "which is right on 97.5 %"
    assert notes[3] == "13 k against 520 k"


def test_the_lead_warns_of_confidence_that_is_off() -> None:
    text = lead(result(), evaluation()).replace("\N{NO-BREAK SPACE}", " ")
    assert text.endswith(
        "Its confidence is off by 4.0 points, which a temperature of 1.25 would bring to 1.0."
    )
    assert "confidence" not in lead(result(), None)


def test_compact() -> None:
    texts = [compact(number).replace("\N{NO-BREAK SPACE}", " ") for number in (7, 650, 61706, 1.5e6, 2.25e9)]
    assert texts == ["7", "650", "61.7 k", "1.5 M", "2.25 G"]
