from __future__ import annotations

import pytest

from limbeck.errors import LimbeckError
from limbeck.studies import MIN_PAIRS, holm, paired_difference, summarize
from limbeck.studies.statistics import check_paired


def test_summary_by_value() -> None:
    summary = summarize([2.0, 4.0, 4.0, 6.0])
    assert (summary.mean, summary.n) == (4.0, 4)
    assert summary.sd == pytest.approx((8 / 3) ** 0.5)


def test_one_value_has_a_mean_and_no_spread() -> None:
    assert (summarize([0.5]).mean, summarize([0.5]).sd) == (0.5, None)


def test_text_of_a_summary_and_of_a_difference() -> None:
    assert [str(summarize(values)) for values in ([1.0, 2.0], [0.125])] == ["1.50 ± 0.71", "0.12"]
    difference = paired_difference({3: 30.0, 1: 10.0}, {1: 8.0, 3: 26.0})
    assert str(difference) == "+3.00 (-9.71 to +15.71)"
    assert str(paired_difference({0: 1.0}, {0: 2.0})) == "-1.00"


def test_no_value_is_an_error() -> None:
    with pytest.raises(LimbeckError, match="at least one value"):
        summarize([])


def test_paired_difference_by_value() -> None:
    difference = paired_difference({0: 0.5, 1: 1.0, 2: 0.8, 3: 1.2, 4: 1.5}, dict.fromkeys(range(5), 0.0))
    assert difference.pairs == 5
    assert difference.mean == pytest.approx(1.0)
    # sd = sqrt(0.58 / 4), and 2.776445 is the 97.5 % point of Student's t with 4 degrees of freedom
    half = 2.776445 * (0.58 / 4 / 5) ** 0.5
    assert difference.interval == pytest.approx((1 - half, 1 + half), rel=1e-6)
    assert difference.verdict == "higher"


def test_pairs_are_the_seeds_on_both_sides_whatever_their_order() -> None:
    difference = paired_difference({3: 30.0, 1: 10.0, 7: 99.0}, {1: 8.0, 3: 26.0, 8: 0.0})
    assert (difference.pairs, difference.mean) == (2, 3.0)
    # differences 2 and 4: sd sqrt(2), standard error 1, and t(0.975, 1) = 12.706205
    assert difference.interval == pytest.approx((3 - 12.706205, 3 + 12.706205), rel=1e-6)


def test_confidence_widens_the_interval() -> None:
    sides = {0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.0, 1: 0.0, 2: 0.0}
    wide, narrow = (paired_difference(*sides, confidence=c).interval for c in (0.99, 0.8))
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([1.0, 1.1, 0.9, 1.0, 1.0], "higher"),
        ([-1.0, -1.1, -0.9, -1.0, -1.0], "lower"),
        ([1.0, -1.1, 0.9, -1.0, 0.1], "undecided"),
        ([0.0] * 5, "undecided"),
        ([1.0, 1.1, 0.9, 1.0], None),
    ],
)
def test_verdict(differences: list[float], verdict: str | None) -> None:
    found = paired_difference(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))
    assert found.verdict == verdict
    assert (found.pairs < MIN_PAIRS) == (verdict is None)


def test_one_pair_has_no_interval() -> None:
    difference = paired_difference({0: 3.0}, {0: 1.0})
    assert (difference.mean, difference.interval, difference.verdict) == (2.0, None, None)


def test_no_common_seed_is_an_error() -> None:
    with pytest.raises(LimbeckError, match=r"no seed is in both: \[0\] and \[1\]"):
        paired_difference({0: 1.0}, {1: 1.0})


def test_p_of_the_paired_t_test() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    ours, theirs = [0.5, 1.0, 0.8, 1.2, 1.5], [0.1, 0.9, 1.0, 0.2, 0.7]
    difference = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert difference.p == pytest.approx(scipy_stats.ttest_rel(ours, theirs).pvalue, rel=1e-9)
    assert paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).p == 1
    assert paired_difference({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).p == 0
    assert paired_difference({0: 1.0}, {0: 0.0}).p is None


def test_holm_steps_down() -> None:
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.005})
    assert list(found) == ["a", "b", "c", "d"]
    assert found == pytest.approx({"d": 0.02, "b": 0.03, "c": 0.06, "a": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_effect_size_is_the_mean_over_the_deviation_of_the_differences() -> None:
    difference = paired_difference({0: 3.0, 1: 5.0, 2: 7.0}, dict.fromkeys(range(3), 0.0))
    assert difference.effect == pytest.approx(5 / 2)
    assert paired_difference({0: 1.0, 1: 1.0}, {0: 0.0, 1: 0.0}).effect is None


def test_seeds_that_are_not_paired_are_named() -> None:
    values = dict.fromkeys(range(3), 1.0)
    check_paired(values, values, ("KD", "alone"))
    with pytest.raises(LimbeckError, match="'KD' was not run with seeds 1, 2, and 'alone' was"):
        check_paired({0: 1.0}, values, ("KD", "alone"))
    with pytest.raises(LimbeckError, match="'alone' was not run with seed 7, and 'KD' was"):
        check_paired({**values, 7: 1.0}, values, ("KD", "alone"))
