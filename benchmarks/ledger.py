"""What a benchmark has measured, in a JSON file that is committed, so that no machine measures it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from limbeck.files import write_text


class Ledger:
    """Figures by place in a JSON file, written at once as each is measured.

    Args:
        file: path of the file, which may not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def has(self, *place: str, of: Mapping[str, Any]) -> bool:
        """Whether there are figures of these settings at a place."""
        kept: Any = self.found
        for key in place:
            kept = kept.get(key, {})
        return bool(kept) and bool(kept["of"] == json.loads(json.dumps(of)))

    def once(
        self, *place: str, of: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The figures at a place, measured now unless they are there.

        Args:
            place: keys that lead to them, the outermost first.
            of: settings that the figures are of; figures of other settings are measured anew.
            measure: called where they are missing.
        """
        folder: dict[str, dict[str, Any]] = self.found
        for key in place[:-1]:
            folder = folder.setdefault(key, {})
        if not self.has(*place, of=of):
            folder[place[-1]] = json.loads(json.dumps({"of": of, **measure()}))
            write_text(self.file, json.dumps(self.found, indent=1) + "\n")
        return folder[place[-1]]
