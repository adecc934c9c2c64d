"""Fonts for names in any script, as far as this machine has one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from functools import lru_cache
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = "ImageFont.ImageFont | ImageFont.FreeTypeFont"

NO_LETTER = "\uffff"
"""No font has it, so every font draws what it draws for letters that it lacks."""


def font_for(text: str, size: int) -> Font | None:
    """A font that has every letter of a text; None if none is installed.

    Pillow's own is tried first, then what fontconfig (`fc-list`) names for these letters.

    Args:
        text: what is to be drawn.
        size: of the letters, in pixels.
    """
    own = ImageFont.load_default(size)
    if _covers(own, text):
        return own
    for file in _installed(frozenset(letter for letter in text if ord(letter) > 127)):
        try:
            font = ImageFont.truetype(file, size)
        except OSError:  # of bitmaps, or another format
            continue
        if _covers(font, text):
            return font
    return None


def _covers(font: Font, text: str) -> bool:
    """Whether the font has the letters: none of them looks like one that no font has."""
    missing = bytes(font.getmask(NO_LETTER))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(text))


@lru_cache
def _installed(letters: Collection[str]) -> tuple[str, ...]:
    """Files of fonts that have all the letters, in an order that stays; none without fontconfig."""
    if shutil.which("fc-list") is None:
        return ()
    charset = " ".join(f"{ord(letter):x}" for letter in sorted(letters))
    asked = subprocess.run(
        ["fc-list", f":charset={charset}", "file"], capture_output=True, text=True, check=False
    )
    files = {line.partition(": ")[0] for line in asked.stdout.splitlines()}
    styles = ("Bold", "Italic", "Oblique", "Light", "Condensed", "Mono")
    return tuple(
        sorted(files, key=lambda file: (any(style in file for style in styles), "Sans" not in file, file))
    )
