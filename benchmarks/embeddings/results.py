"""The file of the results: what is in it is never measured again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.files import write_text


@dataclass(frozen=True)
class Results:
    """Figures by nested keys, in a file that is written as soon as one is added.

    Attributes:
        file: JSON.
    """

    file: Path

    def read(self) -> dict[str, Any]:
        """All there is."""
        if not self.file.exists():
            return {}
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return found

    def cell(self, keys: Sequence[str], measure: Callable[[], Any]) -> Any:
        """What is under the keys; measured and written if it is not there.

        Args:
            keys: from the outermost to the innermost.
            measure: a function that gives figures as JSON takes them.
        """
        *outer, last = keys
        if last not in (held := self._at(self.read(), outer)):
            value = measure()
            found = self.read()  # another process may have written meanwhile
            held = self._at(found, outer)
            held[last] = value
            write_text(self.file, json.dumps(found, indent=1) + "\n")
        return held[last]

    @staticmethod
    def _at(found: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
        for key in keys:
            found = found.setdefault(key, {})
        return found
