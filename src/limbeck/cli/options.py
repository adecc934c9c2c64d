"""Options that several commands share, each with the help it has everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Argument(help="YAML file of the run; options override it.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")]

Model = Annotated[
    str | None,
    typer.Option(help="Network: a name from `limbeck models`, a checkpoint or module:factory(...)."),
]
Student = Annotated[
    str | None,
    typer.Option(
        help="Student: a name from `limbeck models`, hf:FOLDER, a run, a checkpoint or module:factory(...)."
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help='Teacher: a run, hf:FOLDER, a checkpoint, module:factory(...) or ensemble("runs/a", "runs/b").'
    ),
]
Teachers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]TEXT",
        help='Teacher: a run, hf:FOLDER, a checkpoint, module:factory(...), ensemble("runs/a", "runs/b"), '
        'checkpoints("runs/a") or a file of answers, such as answers.jsonl. '
        "Several teachers are given one by one, each with a name: big=runs/a.",
    ),
]
CacheTeacher = Annotated[
    str | None,
    typer.Option(
        help="Outputs of the teacher to keep on disk and reuse: logits, embedding, both, or all, which is "
        "whatever the objective reads, maps too."
    ),
]
CacheBudget = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Most that the files of the teacher's cache may take, such as 20GB; `limbeck cache plan` says "
        "what they would. What finds no room is asked live.",
    ),
]
Data = Annotated[
    str | None, typer.Option(help="Data set: a name from `limbeck data`, with arguments if it has any.")
]
DataOrDigits = Annotated[
    str | None,
    typer.Option(
        help="Data set: a name from `limbeck data`, with arguments if it has any; digits if left out."
    ),
]
OtherData = Annotated[str | None, typer.Option(help="Data set to measure on; that of the run if left out.")]
Task = Annotated[
    str | None,
    typer.Option(
        help="What the data is for, a name from `limbeck tasks`; for language, --data may be a file."
    ),
]
DataDir = Annotated[Path | None, typer.Option(help="Directory of the data set's files.")]
Objective = Annotated[
    str | None,
    typer.Option(
        help='What to minimize, such as "0.1*ce + 0.9*kd(temperature=4)"; if left out, the recipe of the '
        "data's task, which `limbeck tasks` shows."
    ),
]
FriendlyTo = Annotated[
    str | None,
    typer.Option(
        metavar="STUDENT",
        help="Train a teacher for this student, a name from `limbeck models` or module:factory(...); short "
        "for --objective 'ce + sftn(student=\"STUDENT\")'.",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs.")]
MaxSteps = Annotated[
    int | None,
    typer.Option(help="Optimizer steps after which training ends, where that is before its last epoch does."),
]
EarlyStopping = Annotated[
    int | None,
    typer.Option(
        metavar="EPOCHS",
        help="Stop after so many epochs without an improvement on the validation split.",
    ),
]
Ema = Annotated[
    float | None,
    typer.Option(
        metavar="DECAY",
        help="Keep an average of the student's weights over its steps, with a decay such as 0.999; it is "
        "what is measured and shipped.",
    ),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Parameters of the student that stay as they are, by their names, such as 'layer1.*'; "
        "repeatable.",
    ),
]
LayerDecay = Annotated[
    float | None,
    typer.Option(
        metavar="FACTOR",
        help="Factor on the learning rate for every stage that a parameter is below the head, such as 0.75.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="auto, the accelerator if there is one; cpu, cuda, or cuda:1 for one of several."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="Precision of the networks: fp32, bf16, fp16 on CUDA, or auto, bf16 where the processor has it."
    ),
]
BatchSize = Annotated[int | None, typer.Option(help="Samples per optimizer step.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Learning rate.")]
Views = Annotated[
    int | None, typer.Option("--views", help="Views of each sample to draw among; all if left out.")
]
Compile = Annotated[
    str | None,
    typer.Option(help="Compile the networks; or --compile auto, if that saves time, or false."),
]
Seed = Annotated[int | None, typer.Option(help="Random seed.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any value of the config, such as training.clip=1.0; repeatable.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; the next free one under runs/ if left out.")]
ResumeRun = Annotated[
    str,
    typer.Option(
        "--resume",
        metavar="[auto]",
        help="Continue the run in --out; with auto, begin it where there is none.",
    ),
]
SaveEvery = Annotated[
    str | None,
    typer.Option(
        metavar="STEPS|TIME",
        help="Steps (500) or time (10min) between checkpoints within an epoch; 10min if left out.",
    ),
]
SkipBadSteps = Annotated[
    int | None,
    typer.Option(help="How many steps with a loss that is NaN or infinite are passed over; 0 if left out."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="auto|none|RUN",
        help="What the student is shown beside: auto, the same student trained alone in as many steps, which "
        "is reused where such a run lies beside this one; none; or a run of it. With --resume, as the run "
        "began, and else auto if left out.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what the run would do and take, by a few of its steps: data, networks, time, memory, disk. "
        "Nothing is written.",
    ),
]
