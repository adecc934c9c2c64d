"""Records two revisions of this repository side by side and compares them; exits with 1 if they differ.

python tests/golden/check.py BASE [NEW]
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compare import report
from record import HERE, PLANS, record


def exported(revision: str, folder: Path) -> Path:
    """A folder with the sources of a revision."""
    archive = ["git", "-C", str(HERE), "archive", revision, "src"]
    files = subprocess.run(archive, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as opened:
        opened.extractall(folder, filter="data")
    return folder


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Tells whether two revisions compute the same.")
    parser.add_argument("base", metavar="BASE", help="a revision of git")
    parser.add_argument("new", metavar="NEW", nargs="?", help="another; the working tree if left out")
    parser.add_argument("--only", nargs="+", choices=PLANS, default=[], help="these runs and what they need")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        old = exported(given.base, Path(folder) / "base")
        new = exported(given.new, Path(folder) / "new") if given.new else HERE
        records = list(pool.map(lambda checkout: record(checkout, given.only), (old, new)))
    raise SystemExit(report(*records))


if __name__ == "__main__":
    main()
