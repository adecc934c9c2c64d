"""Checks what is in a wheel and a source distribution: python .ci/contents.py DIST."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

SOURCE = Path("src")
DATA = (".py", ".jinja", ".css", ".js", ".typed", ".yaml", ".json", ".csv")


def main(folder: Path) -> None:
    """Exits with a sentence if something is missing from the wheel, or there that does not belong there."""
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    packed = zipfile.ZipFile(wheel).namelist()
    there = {name for name in packed if not name.split("/")[0].endswith(".dist-info")}
    wanted = {
        str(path.relative_to(SOURCE))
        for path in (SOURCE / "limbeck").rglob("*")
        if path.suffix in DATA and "__pycache__" not in path.parts
    }
    if there != wanted:
        sys.exit(f"{wheel.name} lacks {sorted(wanted - there)} and should not have {sorted(there - wanted)}")
    with tarfile.open(archive) as source:
        sources = {name.partition("/")[2] for name in source.getnames()}
    if missing := {"LICENSE", "README.md", "pyproject.toml"} - sources:
        sys.exit(f"{archive.name} lacks {sorted(missing)}")
    if missing := {f"{SOURCE}/{name}" for name in wanted} - sources:
        sys.exit(f"{archive.name} lacks {sorted(missing)}")
    if tests := {name for name in sources if name.startswith("tests/")}:
        sys.exit(f"{archive.name} should not have {sorted(tests)}: they need the checkout")
    print(f"{wheel.name} has {len(there)} files, {archive.name} {len(sources)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
