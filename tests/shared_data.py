"""Real data that lies in a folder `shared` beside or above the repository, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

_FOUND = [folder / "shared" / "data" for folder in Path(__file__).parents]

DATA = next((folder for folder in _FOUND if folder.is_dir()), Path("shared", "data"))

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="there is no folder shared with the real data")
