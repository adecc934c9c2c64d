"""Small networks that double images, by a larger one's answers and features.

    python -m benchmarks.pixels.restoration [--runs DIR] [--shared DIR] [--tiny]

T91 with 91 photographs for training, of which 9 are held out for validation, and Set5. A figure that is in
restoration.json is not measured again, so the command may be stopped and started again; each is written there
when it is known, and the page RESTORATION.md is printed from them. `--tiny` tries it out, and writes into the
folder of the runs alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.pixels.contest import Contest, main
from limbeck import data
from limbeck.data import Source


def photographs(shared: Path) -> Source:
    """T91 and Set5 at half their size."""
    return data.load('restoration(scale=2, size=24, train="t91", test="set5")', shared / "superresolution")


CONTEST = Contest(
    name="restoration",
    about="""Twice the size: 82 photographs of T91 for training, 9 for validation, the five of Set5 for test,
    scaled down bicubically. Training sees windows of 24 x 24 of the inputs; whole images are measured, by
    the luma without borders of 2 pixels. An epoch has 512 windows, Adam in batches of 16. The
    budgets below say how far from its plateau the student alone is. Five images are few: the intervals are
    over seeds, not over images.""",
    source=photographs,
    student="edsr(width=8, depth=2)",
    teacher="edsr(width=32, depth=4)",
    contenders={
        "alone": "mae",
        "output distance": '0.5*mae + 0.5*imitation(loss="l1")',
        "features": 'mae + 0.1*fitnet(stage=-1, loss="l1", linear=true)',
        "MetaKD-SR": "mae + 0.1*metakd_sr(pairs=[[-1, -1]])",
    },
    epochs=60,
    teacher_epochs=80,
    tried=(20, 120, 240, 480),
    lr=2e-3,
    teacher_lr=1e-3,
    batch_size=16,
    settings={"training.samples_per_epoch": 512, "training.optimizer": {"name": "adam"}},
)


if __name__ == "__main__":
    main(CONTEST)
