"""Studies that run on a laptop, cell after cell; what is finished is never run again.

    python -m benchmarks.studies.run [STUDY ...] [--runs DIR] [--shared DIR] [--only WORDS] [--read]

Each finished cell is written into STUDY.json beside this file at once, and README.md anew. The directories of
runs may go between two calls: only the teachers are trained again then, where cells are left that need them.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from benchmarks.studies.readme import readme
from limbeck.files import write_text
from limbeck.studies.cells import cells_of
from limbeck.studies.records import Records
from limbeck.studies.running import run_study
from limbeck.studies.study import read_study

HERE = Path(__file__).parent
STUDIES = ("small-cifar",)
HELD_OUT = 2_000
"""Of the 10,000 images of MNIST's test files, those that figures are measured on."""


def write_mnist(shared: Path, folder: Path) -> None:
    """Images of MNIST as Parquet, 8,000 to train on and 2,000 for test, where they are not there yet."""
    if (folder / "test.parquet").exists():
        return
    with gzip.open(shared / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = file.read()[16:]
    with gzip.open(shared / "mnist" / "t10k-labels-idx1-ubyte.gz") as file:
        labels = [str(label) for label in file.read()[8:]]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(len(labels)):
        picture = Image.frombytes("L", (28, 28), pixels[784 * number : 784 * (number + 1)])
        files.append(_png(picture))
    for name, part in (("train", slice(HELD_OUT, None)), ("test", slice(HELD_OUT))):
        table = pa.table({"image": [{"bytes": each} for each in files[part]], "label": labels[part]})
        pq.write_table(table, folder / f"{name}.parquet")


def _png(picture: Image.Image) -> bytes:
    from io import BytesIO

    file = BytesIO()
    picture.save(file, format="png")
    return file.getvalue()


def run(name: str, runs: Path, only: list[str]) -> None:
    """Runs whatever of a study is not finished yet, and writes the tables after each cell."""
    study, home, records = read_study(HERE / f"{name}.yaml"), runs / name, Records(HERE / f"{name}.json")
    cells = cells_of(study, home)

    def note(text: str) -> None:
        print(text, flush=True)
        write_text(HERE / "README.md", readme(STUDIES, HERE))

    run_study(cells.only(only), home, records, study.figures, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", choices=[[], *STUDIES], help="which; all if left out")
    parser.add_argument("--runs", type=Path, default=Path("runs/studies"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    parser.add_argument("--only", action="append", default=[], help="words of the cells to run")
    parser.add_argument("--read", action="store_true", help="write README.md from the figures alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.read:
        write_mnist(arguments.shared, Path("runs/studies/mnist"))
    for name in [] if arguments.read else arguments.studies or STUDIES:
        run(name, arguments.runs, arguments.only)
    write_text(HERE / "README.md", readme(STUDIES, HERE))


if __name__ == "__main__":
    main()
