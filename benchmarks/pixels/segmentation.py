"""Small networks that label the pixels of road scenes, by a larger one's answers.

    python -m benchmarks.pixels.segmentation [--runs DIR] [--shared DIR] [--tiny]

CamVid, 11 classes, 367 training images of 240 x 180 pixels, which training sees in windows of 128 x 96. A
figure that is in segmentation.json is not measured again, so the command may be stopped and started again;
each is written there when it is known, and the page SEGMENTATION.md is printed from them. `--tiny` tries it
out in a minute or two, and writes into the folder of the runs alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.pixels.contest import Contest, main
from limbeck import data
from limbeck.data import Source

KD = "0.5*ce + 0.5*kd(temperature=2)"
NAMES = "sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist"


def camvid(shared: Path) -> Source:
    """CamVid as it lies in the folder of data files; rows are at the resolution of the student's answers."""
    names = ", ".join(f'"{name}"' for name in NAMES.split(", "))
    text = f'segmentation(size=[96, 128], ignore=11, names=[{names}], resolution="outputs")'
    return data.load(text, shared / "segmentation" / "camvid")


CONTEST = Contest(
    name="segmentation",
    about="""CamVid: 11 classes of pixels in road scenes, 367 training, 101 validation and 233 test images of
    240 x 180 pixels. Training sees windows of 128 x 96 of images scaled by 0.5 to 2, and compares pixels at
    the resolution of the student's answers, an eighth of that; what is measured is measured on whole images
    at the resolution of the labels. An epoch is four passes over the training images, AdamW in batches of
    8. Whether the student alone is at its plateau then is said below, by the validation split. All students
    have an auxiliary head, and RDD alone trains it.""",
    source=camvid,
    student="deeplab(channels=[8, 16, 24, 32], width=32, aux=true)",
    teacher="deeplab(channels=[32, 64, 96, 128], width=64, aux=true)",
    contenders={
        "alone": "ce",
        "KD": KD,
        "CWD": "ce + 3*cwd",
        "RDD": "rdd + kd(temperature=1)",
        "pairwise": "ce + 10*kd(temperature=1) + 10*pairwise",
        "ICD": "ce + icd",
        "MGD(KD)": f'mgd({KD}, scheme="stable")',
    },
    epochs=32,
    teacher_epochs=32,
    tried=(8, 16, 64, 128, 256),
    lr=3e-3,
    teacher_lr=2e-3,
    batch_size=8,
    settings={
        "training.samples_per_epoch": 4 * 367,
        "training.optimizer": {"name": "adamw"},
        "training.optimizer.weight_decay": 1e-2,
    },
)


if __name__ == "__main__":
    main(CONTEST)
