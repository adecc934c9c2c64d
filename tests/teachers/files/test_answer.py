"""One answer, in each of its forms."""

from __future__ import annotations

import math
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.outputs import NEVER
from limbeck.teachers.files.answer import FORMS, Answer, Classes, from_text, merged

CLASSES = Classes(("cat", "dog", "emu", "10"))


def made(form: str, value: Any) -> Answer:
    return FORMS[form](value, CLASSES, "row 3 of 'a.jsonl'")


def shares(answer: Answer) -> list[float]:
    return [round(float(share), 9) for share in answer.probabilities]


def test_a_label_is_certain() -> None:
    answer = made("label", "dog")
    assert answer.logits.tolist() == [NEVER, 0, NEVER, NEVER]
    assert answer.known.all()
    assert answer.partial
    for number in (10, 10.0, "10", "10.0", " 10 "):
        assert made("label", number).logits.argmax() == 3


def test_votes_are_a_distribution() -> None:
    answer = made("answers", ["cat", "dog", "cat"])
    assert shares(answer) == [pytest.approx(2 / 3), pytest.approx(1 / 3), 0, 0]
    assert answer.logits[0] == pytest.approx(math.log(2 / 3))
    assert answer.known.all()
    assert shares(made("answers", ["dog"])) == [0, 1, 0, 0]


def test_probabilities_of_all_classes_are_what_they_are() -> None:
    answer = made("probabilities", {"cat": 0.5, "emu": 0.25, "dog": 0.15, "10": 0.1})
    assert answer.logits.tolist() == pytest.approx([math.log(p) for p in (0.5, 0.15, 0.25, 0.1)])
    assert answer.known.all()
    assert (answer.partial, answer.total) == (False, 1.0)
    assert made("probabilities", {"cat": 1, "emu": 0, "dog": 0, "10": 0}).partial, "a class without any"


def test_rounded_probabilities_are_divided_by_their_sum() -> None:
    answer = made("probabilities", {"cat": 0.33, "dog": 0.33, "emu": 0.33, "10": 0.0})
    assert answer.total == pytest.approx(0.99)
    assert shares(answer)[0] == pytest.approx(1 / 3)


def test_what_is_left_belongs_to_the_other_classes_together() -> None:
    answer = made("probabilities", {"cat": 0.6, "10": 0.1})
    assert answer.known.tolist() == [True, False, False, True]
    assert shares(answer) == pytest.approx([0.6, 0.15, 0.15, 0.1])
    assert (answer.partial, answer.total) == (True, 1.0)


def test_an_api_gives_log_probabilities_of_some_classes() -> None:
    answer = made("logprobs", {"dog": math.log(0.7), "emu": math.log(0.2)})
    assert answer.known.tolist() == [False, True, True, False]
    assert answer.logits.tolist() == pytest.approx([math.log(p) for p in (0.05, 0.7, 0.2, 0.05)])
    certain = made("logprobs", {"dog": 0.0})
    assert certain.logits.tolist() == [NEVER, 0, NEVER, NEVER]
    assert certain.known.all(), "nothing is left to share"


def test_the_last_class_is_known_by_the_others() -> None:
    answer = made("logprobs", {"cat": math.log(0.5), "dog": math.log(0.2), "emu": math.log(0.2)})
    assert answer.known.all()
    assert not answer.partial
    assert shares(answer)[3] == pytest.approx(0.1)


def test_log_probabilities_of_all_classes_are_said_to_be_divided() -> None:
    """What an LLM says besides is none of the classes."""
    answer = made("logprobs", {name: math.log(0.2) for name in CLASSES.names})
    assert shares(answer) == [0.25] * 4
    assert answer.total == pytest.approx(0.8)


def test_logits_stay_as_they_are() -> None:
    assert made("logits", [3, 1.5, -2, 0]).logits.tolist() == [3, 1.5, -2, 0]
    by_name = made("logits", {"10": 0, "dog": 1.5, "cat": 3, "emu": -2})
    assert by_name.logits.tolist() == [3, 1.5, -2, 0]
    assert not by_name.partial


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        ("label", "dg", r"unknown class in row 3 of 'a.jsonl': 'dg'; did you mean 'dog'\?"),
        ("label", ["dog"], r"the label in row 3 of 'a.jsonl' is a list, \['dog'\]"),
        ("label", -1, "the label -1 in row 3 of 'a.jsonl' is negative"),
        ("answers", "dog", "should be a list of classes"),
        ("answers", ["dog", None], "one of the answers in row 3 of 'a.jsonl' is empty"),
        ("answers", ["dog", "cot"], "unknown class in row 3 of 'a.jsonl': 'cot'"),
        ("probabilities", [0.5, 0.5], "should be numbers by class"),
        (
            "label",
            "Dog",
            "^the class 'Dog' in row 3 of 'a.jsonl' differs from 'dog' of the data in case alone",
        ),
        (
            "answers",
            ["EMU "],
            "^the class 'EMU' in row 3 of 'a.jsonl' differs from 'emu' of the data in case",
        ),
        (
            "label",
            "LABEL_2",
            "^the class 'LABEL_2' in row 3 of 'a.jsonl' is a number, and the classes of the data have names, "
            "'cat', 'dog', 'emu', '10'; write these, or set id2label of the model that answers$",
        ),
        (
            "probabilities",
            {"0": 0.5},
            "^the class '0' in row 3 of 'a.jsonl' is a number, and .* set id2label",
        ),
        (
            "probabilities",
            {"dog": 0.9, "cat": 0.4},
            "^the probabilities in row 3 of 'a.jsonl' sum to 1.3, which is more than 1; divide them by their "
            "sum, or",
        ),
        (
            "probabilities",
            {"dog": 0.5, "cat": 0.2, "emu": 0.1, "10": 0.1},
            "^the probabilities in row 3 of 'a.jsonl' sum to 0.9, and those of all classes should sum to 1; "
            "divide them by their sum, or leave out the classes that nothing is known of$",
        ),
        ("probabilities", {"dog": 60, "cat": 39}, "is 60, and not from 0 to 1; divide percentages by 100$"),
        ("probabilities", {"dog": math.nan}, "have nan for 'dog', which is no number"),
        ("probabilities", {"dog": True}, "have True for 'dog', which is no number"),
        ("probabilities", {"dog": -0.1}, "the probability of 'dog' in row 3 of 'a.jsonl' is -0.1, and not"),
        ("probabilities", {"dog": 1.2}, "is 1.2, and not from 0 to 1"),
        ("probabilities", {"dog": 0.0}, "are all 0"),
        ("probabilities", {"10": 0.5, "10.0": 0.5}, "have two numbers for '10'"),
        ("logprobs", {"dog": 0.5}, "the log-probability of 'dog' in row 3 of 'a.jsonl' is 0.5, and none"),
        ("logprobs", {"dog": -0.1, "cat": -0.1}, "sum to 1.81, which is more than 1"),
        ("logits", [1, 2, 3], "has 3 logits, and there are 4 classes"),
        ("logits", {"dog": 1.0}, "has no logit of the class 'cat'"),
        ("logits", [1, 2, 3, math.inf], "the logit of '10' in row 3 of 'a.jsonl' is inf, not finite"),
        ("logits", [1, 2, 3, math.nan], "have nan for '10', which is no number"),
    ],
)
def test_what_is_no_answer(form: str, value: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        made(form, value)


def test_several_answers_are_their_mean() -> None:
    both = merged([made("label", "cat"), made("answers", ["cat", "dog"])], CLASSES, "it")
    assert shares(both) == [0.75, 0.25, 0, 0]
    assert both.form == "answers"
    mixed = merged([made("label", "cat"), made("logits", [0, 0, 0, 0])], CLASSES, "it")
    assert shares(mixed) == [0.625, 0.125, 0.125, 0.125]
    assert mixed.form == "probabilities"
    same = made("logits", [3, 1, 2, 0])
    assert merged([same, made("logits", [3, 1, 2, 0])], CLASSES, "it") is same


def test_of_answers_about_some_classes_those_count_that_all_tell() -> None:
    both = merged(
        [made("probabilities", {"cat": 0.6, "dog": 0.3}), made("probabilities", {"cat": 0.4, "emu": 0.4})],
        CLASSES,
        "it",
    )
    assert both.known.tolist() == [True, False, False, False]
    assert shares(both)[0] == pytest.approx(0.5)
    assert sum(shares(both)[1:]) == pytest.approx(0.5)
    with pytest.raises(LimbeckError, match=r"^the answers for it tell .* different classes, and of none in"):
        merged([made("logprobs", {"cat": -1}), made("logprobs", {"dog": -1})], CLASSES, "it")


def test_a_csv_has_lists_and_numbers_by_class_as_json() -> None:
    assert from_text("answers", '["cat", "dog"]', "row 1") == ["cat", "dog"]
    with pytest.raises(LimbeckError, match=r"^the answers in row 1 should be JSON, .*, not 'cat\|dog'$"):
        from_text("answers", "cat|dog", "row 1")
