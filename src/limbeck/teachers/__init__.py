"""Teachers: whatever answers a batch with outputs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limbeck.teachers.bank import SoftTargetBank
from limbeck.teachers.base import Teacher
from limbeck.teachers.ensemble import Ensemble
from limbeck.teachers.live import LiveTeacher

if TYPE_CHECKING:
    from limbeck.teachers.cached import CachedTeacher
    from limbeck.teachers.checkpoints import CheckpointTeacher
    from limbeck.teachers.files.teacher import FileTeacher
    from limbeck.teachers.files.token_teacher import TokenFileTeacher
    from limbeck.teachers.lightweight import LightweightTeacher
    from limbeck.teachers.pairs import PairTeacher

__all__ = [
    "CachedTeacher",
    "CheckpointTeacher",
    "Ensemble",
    "FileTeacher",
    "LightweightTeacher",
    "LiveTeacher",
    "PairTeacher",
    "SoftTargetBank",
    "Teacher",
    "TokenFileTeacher",
]

_HOMES = {
    "CachedTeacher": "cached",
    "CheckpointTeacher": "checkpoints",
    "FileTeacher": "files.teacher",
    "LightweightTeacher": "lightweight",
    "PairTeacher": "pairs",
    "TokenFileTeacher": "files.token_teacher",
}


def __getattr__(name: str) -> Any:
    """Imports a teacher that stands on data or files when somebody asks for it: a Distiller does without."""
    if name in _HOMES:
        return getattr(import_module(f"limbeck.teachers.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'limbeck.teachers' has no attribute {name!r}")
