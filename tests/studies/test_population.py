from __future__ import annotations

from collections import Counter
from random import Random

from limbeck.data.views.space import Range
from limbeck.studies.population import drawn, parents, perturbed

SPACE = {"a": Range(0, 20, 1), "b": Range(0, 0.8, 0.1), "c": Range(5, 5, 1)}


def test_policies_are_drawn_from_the_whole_space() -> None:
    random = Random(0)
    found = [drawn(SPACE, random) for _ in range(1000)]
    assert {each["a"] for each in found} == set(range(21))
    assert {each["b"] for each in found} == set(SPACE["b"].values)
    assert drawn(SPACE, Random(3)) == drawn(SPACE, Random(3))


def test_a_parameter_is_drawn_anew_or_moves_a_few_steps() -> None:
    """P(stay) = 0.8/4 + 0.2/21, P(one step up) = 0.8/8 + 0.2/21, and further away only the draw comes."""
    random, count = Random(0), 20_000
    found = Counter(perturbed({"a": 10, "b": 0.3, "c": 5}, SPACE, random)["a"] for _ in range(count))
    for value in range(21):
        share = 0.2 / 21 + (0.2 if value == 10 else 0.1 if abs(value - 10) <= 3 else 0)
        assert abs(found[value] - count * share) < 5 * (count * share * (1 - share)) ** 0.5, value


def test_a_range_has_ends() -> None:
    random = Random(0)
    found = [perturbed({"a": 19, "b": 0.0, "c": 5}, SPACE, random) for _ in range(500)]
    assert all(each[name] in SPACE[name].values for each in found for name in SPACE)
    assert {each["c"] for each in found} == {5}
    assert max(Counter(each["a"] for each in found).items(), key=lambda item: item[1])[0] == 20


def test_the_last_quarter_goes_on_from_the_first() -> None:
    assert parents([0.1, 0.4, 0.2, 0.3], Random(0)) == [1, 1, 2, 3]
    assert parents([0.5, 0.5], Random(0)) == [0, 0], "of equal trials the earlier is better"
    assert parents([0.1, 0.2, 0.3], Random(0)) == [2, 1, 2]
    eight = [parents([8, 7, 6, 5, 4, 3, 2, 1], Random(seed)) for seed in range(50)]
    assert all(each[:6] == [0, 1, 2, 3, 4, 5] for each in eight)
    assert {tuple(each[6:]) for each in eight} == {(0, 0), (0, 1), (1, 0), (1, 1)}
