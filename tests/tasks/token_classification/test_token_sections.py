"""What a page and a model card say of networks that label words."""

from __future__ import annotations

import math

from limbeck.tasks import TokenClassification
from limbeck.tasks.sections import Bars, Table
from limbeck.tasks.token_classification.findings import EntityType, Missed, TokenAgreement, TokenFindings

TASK = TokenClassification(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))


def findings(right: int = 6, lost: int = 0) -> TokenFindings:
    return TokenFindings(
        types=(
            EntityType(entities=8, found=10, right=right),
            EntityType(entities=1200, found=0, right=0),
        ),
        missed=Missed(other_type=3, other_words=4, absent=1195),
        words=9000,
        right=7000,
        lost=lost,
    )


def test_a_table_has_a_row_for_each_type_the_most_frequent_first() -> None:
    entities, beside = TASK.sections(
        {"student": findings(), "teacher": findings(right=8)},
        TokenAgreement(agreement=0.875, distance=0.25, entity_f1=0.5),
    )
    assert entities.text == (
        "An entity is a run of words that begins with B, or with I behind O or another type. It is right "
        "if its first word, its last word and its type are."
    )
    by_type, missed = entities.figures
    assert isinstance(by_type, Table)
    assert by_type.columns == [
        "type",
        "entities",
        "precision (%)",
        "recall (%)",
        "F1 (%)",
        "F1 of the teacher (%)",
    ]
    assert by_type.rows == [
        ["LOC", "1,200", None, "0.0", "0.0", "0.0"],
        ["PER", "8", "60.0", "75.0", "66.7", "88.9"],
    ]
    assert by_type.notes == "The student's; the mean of its F1 is 33.3 %, the macro F1."
    assert isinstance(missed, Table)
    assert missed.rows == [
        ["student", "6", "3", "4", "1,195", "4"],
        ["teacher", "8", "3", "4", "1,195", "2"],
    ]
    assert beside.text == (
        "Student and teacher give 87.5 % of the words the same tag. Against the teacher's entities, the "
        "student's have an F1 of 50.0 %. The mean divergence KL(teacher, student) of a word is 0.250 nats."
    )


def test_without_a_teacher_there_is_one_section() -> None:
    assert [each.title for each in TASK.sections({"student": findings()}, None)] == ["Entities"]


def test_networks_side_by_side_have_means_over_their_seeds() -> None:
    (section,) = TASK.compared({"a": [findings(right=6), findings(right=8)], "b": [findings(right=0)]})
    (bars,) = section.figures
    assert isinstance(bars, Bars)
    assert bars.names == ["LOC", "PER"]
    assert bars.series["a"][0] == 0
    assert math.isclose(bars.series["a"][1], 100 * (12 / 18 + 16 / 18) / 2)
    assert list(bars.series["b"]) == [0, 0]


def test_a_card_names_the_worst_type_and_what_is_missed() -> None:
    assert TASK.weaknesses(findings(lost=40)) == (
        "It is weakest on `LOC`: an F1 of 0.0 % on 1,200 entities.",
        "Of the 1,202 entities that it misses, it gives 3 another type and 4 other words, and does not see "
        "1,195.",
        "It does not read 40 of 9,000 words, which are cut off; they count as answered O.",
    )
    perfect = findings().model_copy(
        update={
            "types": (EntityType(entities=1, found=1, right=1),) * 2,
            "missed": Missed(other_type=0, other_words=0, absent=0),
        }
    )
    assert TASK.weaknesses(perfect) == ("It is weakest on `PER`: an F1 of 100.0 % on 1 entity.",)
