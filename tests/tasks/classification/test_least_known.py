"""limbeck.tasks.classification.least_known: what a chart of many classes shows."""

from __future__ import annotations

from limbeck.tasks.classification.least_known import least_known

NAMES = [f"class {at}" for at in range(60)]


def test_few_classes_are_all_shown() -> None:
    assert least_known({0: 0.5, 1: 0.0, 2: 0.25}, NAMES) == ([0, 1, 2], "")


def test_of_many_the_least_known_are_shown() -> None:
    shown, note = least_known({at: (40 - at) / 40 for at in range(40)}, NAMES)
    assert shown == list(range(39, 19, -1))
    assert note == " The 20 least known of 40."


def test_classes_that_are_never_right_do_not_fill_the_chart() -> None:
    shown, note = least_known({at: max(0, at - 24) / 60 for at in range(60)}, NAMES)
    assert shown == list(range(25, 45))
    assert note == (
        " No sample of 25 classes is right: 'class 0', 'class 1', 'class 2', 'class 3', 'class 4' and 20 "
        "more. Of the others the 20 least known."
    )


def test_where_nothing_is_right_the_first_classes_are_shown() -> None:
    assert least_known(dict.fromkeys(range(30), 0.0), NAMES) == (
        [*range(20)],
        " The 20 least known of 30.",
    )
