"""The commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import answers as answer_commands
from limbeck.cli import cache as cache_commands
from limbeck.cli import data as data_commands
from limbeck.cli import options
from limbeck.cli import study as study_commands
from limbeck.cli.command import Command
from limbeck.cli.compare import compare
from limbeck.cli.init import init
from limbeck.cli.mining import mine
from limbeck.cli.opening import open_
from limbeck.cli.search_views import search_views
from limbeck.cli.suggesting import suggest
from limbeck.cli.terminal import out, waiting
from limbeck.cli.training import distill, train
from limbeck.cli.transfer import transfer
from limbeck.cli.tune import tune
from limbeck.errors import LimbeckError

app = typer.Typer(
    name="limbeck",
    no_args_is_help=True,
    epilog="With --debug, anywhere, or LIMBECK_DEBUG=1, an error shows its traceback. With --trust-code, or "
    "LIMBECK_TRUST_CODE=1, a factory that a run's directory names is called, now and ever after.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_commands.app, name="data")
app.add_typer(cache_commands.app, name="cache")
app.add_typer(answer_commands.app, name="answers")
app.add_typer(study_commands.app, name="study")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"limbeck {version('limbeck')}")
        raise typer.Exit


@app.callback()
def limbeck(
    version: Annotated[  # its callback prints it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Distills a large trained network into a small one."""


@app.command()
def quickstart(
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for its runs and report.")] = Path(
        "quickstart"
    ),
    seed: Annotated[int, typer.Option(help="First of five random seeds.")] = 0,
) -> None:
    """Distills a small student for handwritten digits.

    The page that it writes shows what the student gained over one without a teacher.
    """
    from limbeck.cli.quickstart import quickstart as run_quickstart

    run_quickstart(out_dir, seed, out())


app.command()(init)
app.command()(suggest)
app.command()(train)
app.command()(distill)


@app.command()
def evaluate(
    run: options.RunPath,
    suite: Annotated[
        str, typer.Option(help="quick; or full, which adds noisy inputs, stages, latency and memory.")
    ] = "quick",
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Run on the same data to compare with, such as the student without a teacher; if left out, "
            "the student alone that the run is shown beside."
        ),
    ] = None,
    data: options.OtherData = None,
    data_dir: options.DataDir = None,
    device: options.Device = "auto",
    seed: Annotated[
        int | None,
        typer.Option(help="Random seed of the noise in the full suite and of --complexity; 0 if left out."),
    ] = None,
    noise_samples: Annotated[
        int | None,
        typer.Option(
            help="Number of samples with noise in the full suite; all, which takes long, if left out."
        ),
    ] = None,
    complexity: Annotated[
        bool,
        typer.Option(
            "--complexity", help="Measure how hard the targets were for the student: supervision complexity."
        ),
    ] = False,
    complexity_samples: Annotated[
        int | None, typer.Option(help="Number of training samples of --complexity; 128 if left out.")
    ] = None,
    ridge: Annotated[
        float | None, typer.Option(help="What regularizes --complexity; 1e-4 of its kernel's diagonal.")
    ] = None,
    lm_eval: Annotated[
        str,
        typer.Option(
            help="Tasks of lm-eval to score language models on: names or YAML files, with commas between."
        ),
    ] = "",
    lm_eval_limit: Annotated[
        int | None, typer.Option(help="Number of documents of each task of --lm-eval; all if left out.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an evaluation that holds more.")
    ] = False,
) -> None:
    """Measures a run's student beside its teacher.

    On the run's own data it also renews the report.
    """
    from limbeck.cli.evaluated import evaluated
    from limbeck.doors import evaluate as evaluate_run
    from limbeck.evaluation.supervision import SAMPLES
    from limbeck.runs import Run

    if complexity_samples is not None and not complexity:
        raise LimbeckError("--complexity-samples is for the supervision complexity; add --complexity")
    if complexity and complexity_samples is None:
        complexity_samples = SAMPLES
    with waiting(out(), "measuring"):
        found = evaluate_run(
            run,
            data,
            data_dir,
            suite=suite,  # type: ignore[arg-type] # `evaluate_run` checks it
            baseline=baseline,
            seed=seed,
            noise_samples=noise_samples,
            complexity=complexity_samples,
            ridge=ridge,
            lm_eval=[name.strip() for name in lm_eval.split(",")] if lm_eval else [],
            lm_eval_limit=lm_eval_limit,
            device=device or "auto",
            overwrite=overwrite,
        )
    out().print(evaluated(found, Run(run)), soft_wrap=True)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="Checkpoint of torch.save, or a safetensors file.")],
    model: Annotated[str, typer.Option(help="Its network: a name from `limbeck models`.")],
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 100,
    shape: Annotated[str, typer.Option("--input", help="Shape of an image.")] = "3x32x32",
    normalization: Annotated[
        str | None,
        typer.Option(
            help="Normalization of the images: cifar100, imagenet or none; for another, --mean and --std."
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Mean per channel, for pixels in [0, 1]: 0.5,0.5,0.5.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Standard deviation per channel, for pixels in [0, 1].")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Directory; the next free one under runs/ if left out.")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Makes a run directory from a checkpoint of other software.

    RepDistiller and mdistiller write such checkpoints.
    """
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
    out().print(imported(run), soft_wrap=True)


@app.command()
def export(
    run: options.RunPath,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx; pt2, of torch.export; safetensors; hf, for transformers; or repdistiller.",
        ),
    ],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="File to write, of hf a folder; RUN/student* if left out.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set to check the file on; that of the run if left out.")
    ] = None,
    data_dir: options.DataDir = None,
    quantize: Annotated[
        str | None,
        typer.Option(help="int8 for weights of 8 bits in a file of onnx; in float32 if left out."),
    ] = None,
    max_drop: Annotated[
        str,
        typer.Option(
            help="Largest loss that --quantize may cost in the task's first metric on the validation split, "
            "in points for a percentage; none for any; auto is 1 point, or 1 % of the value of other metrics."
        ),
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Writes a run's student to a file for deployment.

    The file is kept only if it answers as the student does.
    """
    from limbeck.cli.show import quantized
    from limbeck.cli.values import max_drop_from
    from limbeck.runs.exporting import export as export_run

    exported = export_run(
        run,
        form,
        out_file,
        data=data,
        data_dir=data_dir,
        overwrite=overwrite,
        quantize=quantize,
        max_drop=max_drop_from(max_drop),
    )
    for sentence in (f"{exported.file}", *exported.lines):
        out().print(sentence, soft_wrap=True)
    if exported.quantization is not None:
        out().print(quantized(exported.quantization))


@app.command()
def push(
    run: options.RunPath,
    repo: Annotated[str, typer.Argument(help="Repository on the Hugging Face hub, USER/NAME.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files and send nothing.")] = False,
) -> None:
    """Uploads a run's student and its card to the hub."""
    from limbeck.runs.pushing import push as push_run

    pushed = push_run(run, repo, private=private, dry_run=dry_run)
    for name, size in pushed.files.items():
        out().print(f"{name}  {size:,} bytes", soft_wrap=True)
    out().print(pushed.url or f"nothing was sent to {repo}", soft_wrap=True)


app.command()(transfer)
app.command()(compare)
app.command()(search_views)
app.command()(tune)
app.command()(mine)
app.command("open")(open_)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="Name, run directory, weights file or module:factory(...).")],
    data: Annotated[
        str | None, typer.Option(help="Data set that the inputs are from; digits if left out.")
    ] = None,
    data_dir: options.DataDir = None,
    shape: Annotated[
        str | None, typer.Option("--input", help="Shape of an input, in place of --data: 3x32x32.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes, with --input.")] = None,
) -> None:
    """Shows what limbeck finds in a network, with shapes.

    These are the logits, the embedding, the stages and the stem.
    """
    from limbeck.cli.show import inspection

    out().print(inspection(model, data, data_dir, shape, classes))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Method to show in detail.")] = None,
) -> None:
    """Lists the methods, or shows one.

    Shown are its arguments, what it reads, its tasks and its recipe.
    """
    if name is None:
        from limbeck.cli.methods_table import methods_table

        out().print(methods_table())
        return
    from limbeck.cli.catalog import method_details

    out().print(method_details(name))


@app.command()
def tasks(name: Annotated[str | None, typer.Argument(help="Task to show in detail.")] = None) -> None:
    """Lists the tasks, or shows one.

    Shown are its targets, metrics, default objectives and methods.
    """
    from limbeck.cli.catalog import task_details, tasks_table

    out().print(task_details(name) if name else tasks_table())


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="Network to show in detail.")] = None) -> None:
    """Lists the networks, or shows one with its arguments."""
    from limbeck.cli.catalog import model_details, models_table

    out().print(model_details(name) if name else models_table())


@app.command()
def doctor() -> None:
    """Shows what a run would have at hand here.

    These are versions, devices, precision, disk and optional packages.
    """
    from limbeck.cli.doctor import examination

    out().print(examination(), soft_wrap=True)


for group in (app, *(each.typer_instance for each in app.registered_groups)):
    for command in group.registered_commands if group else ():
        command.cls = Command
