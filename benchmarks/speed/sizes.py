"""What it costs that a teacher reads another size than its student: milliseconds of one thread a batch.

    python -m benchmarks.speed.sizes [--batch-size 64] [--size 64]

Images of 3 x 32 x 32 pixels are rendered in the views of CIFAR's recipes, with a second size and without, in
turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.speed.contest import alternate
from limbeck.data import Loader, Split
from limbeck.data.preparation import Preparation
from limbeck.data.storage.base import Resident
from limbeck.data.views import parse

IMAGES, REPETITIONS = 6400, 15


def epoch(batch_size: int, teachers: dict[str, Preparation]) -> Callable[[], float]:
    """A function that makes an epoch's batches and returns the processor's milliseconds for each."""
    images = torch.randint(
        0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    split = Split.whole(Resident(images), torch.zeros(IMAGES, dtype=torch.int64))
    views = parse("crop(padding=4, flip=true)")
    loader = Loader(split, batch_size, views=views, teacher_preparations=teachers)

    def run() -> float:
        begun = time.process_time()
        for _ in loader:
            pass
        return 1000 * (time.process_time() - begun) / len(loader)

    return run


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="pixels a side that the teacher reads")
    given = parser.parse_args()
    torch.set_num_threads(1)
    took = alternate(
        {
            "32 pixels": epoch(given.batch_size, {}),
            f"and {given.size} pixels": epoch(given.batch_size, {"teacher": Preparation(given.size)}),
        },
        REPETITIONS,
    )
    for name, times in took.items():
        print(f"{name}: {statistics.median(times):.2f} ms a batch of {given.batch_size}")


if __name__ == "__main__":
    main()
