from __future__ import annotations

import pytest

from limbeck.byte_sizes import bytes_of, sized


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("20GB", 20 * 10**9),
        (" 1.5 TB ", 1500 * 10**9),
        ("500 MB", 500 * 10**6),
        ("4 GiB", 4 * 2**30),
        ("12", 12),
        ("20kB", 20 * 10**3),
        ("0B", 0),
        ("", None),
        ("GB", None),
        ("-1GB", None),
        ("1 gb", None),
        ("1e9", None),
        ("auto", None),
    ],
)
def test_bytes_of_a_text(text: str, count: int | None) -> None:
    assert bytes_of(text) == count


def test_a_size_is_in_the_unit_that_suits_it() -> None:
    assert [sized(count) for count in (12, 2_712, 22_700_000, 1_234_567_890, 1_234_567_890_000)] == [
        "12 B",
        "2.7 kB",
        "22.7 MB",
        "1.2 GB",
        "1,234.6 GB",
    ]
