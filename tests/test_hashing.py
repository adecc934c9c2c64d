from __future__ import annotations

import torch

from limbeck.hashing import below, mix

MASK = 2**64 - 1


def reference(*words: int) -> int:
    """Vigna's splitmix64 in Python's own integers, as a signed number."""
    state = 0
    for word in words:
        state = ((state ^ word) + 0x9E3779B97F4A7C15) & MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
        state ^= state >> 31
    return state - 2**64 if state >= 2**63 else state


def test_one_round_is_splitmix64() -> None:
    assert int(mix(0)) & MASK == 0xE220A8397B1DCDAF  # the generator's published first output for the seed 0


def test_mix_equals_the_reference_on_numbers_of_every_size() -> None:
    numbers = [0, 1, 2, 41, 2**31, 2**62 + 12345, 2**63 - 1]
    got = mix(7, torch.tensor(numbers)[:, None], torch.tensor(numbers))
    assert got.dtype == torch.int64
    assert got.tolist() == [[reference(7, a, b) for b in numbers] for a in numbers]


def test_words_of_python_count_with_their_low_64_bits() -> None:
    assert int(mix(2**64 - 1, 3)) == int(mix(-1, 3)) == reference(MASK, 3)
    assert int(mix(2**64 + 5)) == int(mix(5))


def test_the_order_of_words_matters() -> None:
    assert int(mix(1, 2)) != int(mix(2, 1))


def test_below_is_the_hash_within_bounds() -> None:
    index = torch.arange(1000)
    drawn = below(7, 5, index)
    assert torch.equal(drawn, (mix(5, index) & 2**63 - 1) % 7)
    assert set(drawn.tolist()) == set(range(7))
