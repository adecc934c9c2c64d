"""Seeds for purposes: fixed for ever, since runs are repeated from them, and apart from each other."""

from __future__ import annotations

from limbeck.seeds import seed_for


def test_seeds_never_change() -> None:
    assert [seed_for(0, "student"), seed_for(1, "student"), seed_for(0, "order", 3)] == [
        7420966568055189679,
        633811490844387436,
        8483304753239185838,
    ]


def test_each_seed_and_purpose_has_its_own() -> None:
    purposes: list[tuple[str | int, ...]] = [
        (),
        ("a",),
        ("b",),
        ("a", 1),
        ("a", "1"),
        ("a", 11),
        ("a1",),
        (1, "a"),
    ]
    seeds = {seed_for(seed, *purpose) for seed in range(50) for purpose in purposes}
    assert len(seeds) == 50 * len(purposes)


def test_seeds_fit_a_generator_and_use_all_its_bits() -> None:
    seeds = [seed_for(seed) for seed in range(500)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    for bit in range(63):
        assert 150 < sum(seed >> bit & 1 for seed in seeds) < 350, bit
