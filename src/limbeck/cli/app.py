"""The commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from limbeck.cli import cache as cache_commands
from limbeck.cli import data as data_commands
from limbeck.cli.compare import compare
from limbeck.cli.transfer import transfer

app = typer.Typer(
    name="limbeck",
    help="Distills a large trained network into a small one.",
    no_args_is_help=True,
    epilog="With --debug, anywhere, or LIMBECK_DEBUG=1, an error shows its traceback.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_commands.app, name="data")
app.add_typer(cache_commands.app, name="cache")
out = Console(highlight=False, markup=False)

Config = Annotated[Path | None, typer.Argument(help="YAML file that describes the run; flags override it.")]
Data = Annotated[str | None, typer.Option(help="Data set: a name of `limbeck data`, with arguments.")]
DataDir = Annotated[Path | None, typer.Option(help="Where the data set's files are.")]
Teacher = Annotated[str | None, typer.Option(help="Run directory, checkpoint or module:factory.")]
Student = Annotated[str | None, typer.Option(help="Name of `limbeck models`, run, checkpoint or factory.")]
Objective = Annotated[str | None, typer.Option(help='What to minimize: "0.1*ce + 0.9*kd(temperature=4)".')]
Epochs = Annotated[int | None, typer.Option(help="How long to train.")]
BatchSize = Annotated[int | None, typer.Option(help="Samples an optimizer step.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Learning rate.")]
ViewsPerSample = Annotated[
    int | None, typer.Option("--views", help="Views of each sample to draw among; all if left out.")
]
CacheTeacher = Annotated[
    str | None, typer.Option(help="Answers to keep and read back ever after: logits, embedding or both.")
]
Compile = Annotated[
    str | None, typer.Option(help="Run the networks compiled: true, false, or auto, which measures.")
]
Seed = Annotated[int | None, typer.Option(help="Of everything random.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Run directory; the next free one under runs/ if left out.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any config value: training.clip=1.0")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]


@app.command()
def quickstart(
    out_dir: Annotated[Path, typer.Option("--out", help="Where its runs and report go.")] = Path(
        "quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Of the first of its seeds.")] = 0,
) -> None:
    """Distills a small student of handwritten digits, and shows what it gained."""
    from limbeck.cli.quickstart import quickstart as run_quickstart

    run_quickstart(out_dir, seed, out)


@app.command()
def train(
    config: Config = None,
    model: Annotated[str | None, typer.Option(help="Name of `limbeck models`, or module:factory.")] = None,
    data: Data = None,
    data_dir: DataDir = None,
    objective: Objective = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    views: ViewsPerSample = None,
    compile: Compile = None,
    seed: Seed = None,
    out_dir: Out = None,
    settings: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Trains one network on labels: a teacher, or a baseline."""
    _run("train", locals())


@app.command()
def distill(
    config: Config = None,
    student: Student = None,
    teacher: Teacher = None,
    data: Data = None,
    data_dir: DataDir = None,
    objective: Objective = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    views: ViewsPerSample = None,
    cache_teacher: CacheTeacher = None,
    compile: Compile = None,
    seed: Seed = None,
    out_dir: Out = None,
    settings: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Distills a student."""
    _run("distill", locals())


RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")]


@app.command()
def evaluate(
    run: RunPath,
    suite: Annotated[
        str, typer.Option(help="quick; or full, with noisy inputs, stages, latency and memory.")
    ] = "quick",
    baseline: Annotated[
        Path | None, typer.Option(help="Another run on the same data, such as the student without a teacher.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set to measure on; the run's own if left out.")
    ] = None,
    data_dir: DataDir = None,
    device: Annotated[str, typer.Option(help="auto, the accelerator if there is one; or cpu.")] = "auto",
    seed: Annotated[
        int | None, typer.Option(help="Of the noise in the inputs, in the full suite; 0 if left out.")
    ] = None,
    noise_samples: Annotated[
        int | None,
        typer.Option(
            help="Samples to show with noise, in the full suite; all, which takes long, if left out."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an evaluation that holds more.")
    ] = False,
) -> None:
    """Measures a run's student beside its teacher; on its own data, the report is made anew."""
    from limbeck.cli.evaluated import evaluated
    from limbeck.runs import Run
    from limbeck.runs.evaluate import evaluate as evaluate_run

    with out.status("measuring"):
        found = evaluate_run(
            run,
            data,
            data_dir,
            suite=suite,  # type: ignore[arg-type] # it checks
            baseline=baseline,
            seed=seed,
            noise_samples=noise_samples,
            device=device,  # type: ignore[arg-type] # likewise
            overwrite=overwrite,
        )
    out.print(evaluated(found, Run(run)), soft_wrap=True)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="Checkpoint of torch.save, or a safetensors file.")],
    model: Annotated[str, typer.Option(help="The network it is of: a name of `limbeck models`.")],
    classes: Annotated[int, typer.Option(min=1, help="Classes it tells apart.")] = 100,
    shape: Annotated[str, typer.Option("--input", help="Shape of its images.")] = "3x32x32",
    normalization: Annotated[
        str | None, typer.Option(help="Of its images: cifar100, imagenet or none; or else --mean and --std.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Of each channel, pixels in [0, 1]: 0.5,0.5,0.5")] = None,
    std: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    out_dir: Out = None,
    overwrite: Overwrite = False,
) -> None:
    """Makes a run directory of a checkpoint from elsewhere, RepDistiller's and mdistiller's among them."""
    from limbeck.cli.show import imported
    from limbeck.cli.values import normalization_from, sizes
    from limbeck.runs.importing import import_checkpoint

    size = sizes(shape)
    run = import_checkpoint(
        path,
        model,
        classes=classes,
        shape=size,
        normalization=normalization_from(normalization, mean, std, size[0]),
        out=out_dir,
        overwrite=overwrite,
    )
    out.print(imported(run), soft_wrap=True)


@app.command()
def export(
    run: RunPath,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx; pt2, of torch.export; safetensors; or repdistiller, for RepDistiller and mdistiller.",
        ),
    ],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="The file to write; RUN/student.* if left out.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set to check the file on; the run's own if left out.")
    ] = None,
    data_dir: DataDir = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Writes a run's student to a file for others, and checks that it answers the same."""
    from limbeck.runs.exporting import export as export_run

    exported = export_run(run, form, out_file, data=data, data_dir=data_dir, overwrite=overwrite)
    for sentence in (f"{exported.file}", *exported.lines):
        out.print(sentence, soft_wrap=True)


app.command()(transfer)
app.command()(compare)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="Name, run directory, weights file or module:factory(...).")],
    data: Annotated[
        str | None, typer.Option(help="Data set whose inputs it gets; digits if left out.")
    ] = None,
    data_dir: DataDir = None,
    shape: Annotated[
        str | None, typer.Option("--input", help="Shape of an input, instead of --data: 3x32x32.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes, with --input.")] = None,
) -> None:
    """Shows what limbeck finds in a network: logits, embedding, stages, stem, with shapes."""
    from limbeck.cli.show import inspection

    out.print(inspection(model, data, data_dir, shape, classes))


Name = Annotated[str | None, typer.Argument(help="One of them, in detail.")]


@app.command()
def methods(name: Name = None) -> None:
    """Lists the methods, or shows one: its arguments, what it reads and its recipe."""
    from limbeck.cli.show import method_details, methods_table

    out.print(method_details(name) if name else methods_table())


@app.command()
def models(name: Name = None) -> None:
    """Lists the networks, or shows one with its arguments."""
    from limbeck.cli.show import model_details, models_table

    out.print(model_details(name) if name else models_table())


def _run(command: str, given: dict[str, Any]) -> None:
    """Calls `limbeck.train` or `limbeck.distill` with what was given, and says what came out."""
    from limbeck import runs
    from limbeck.cli.show import outcome
    from limbeck.config import parse_settings

    given["settings"] = parse_settings(given["settings"] or [])
    given["out"] = given.pop("out_dir")
    given["compile"] = {"true": True, "false": False}.get(given["compile"], given["compile"])
    try:
        run = getattr(runs, command)(**given)
    except KeyboardInterrupt:
        typer.echo(
            "limbeck: interrupted; --resume with the run's --out goes on from its checkpoint", err=True
        )
        raise typer.Exit(130) from None
    out.print(outcome(run), soft_wrap=True)  # paths stay whole, to be copied
