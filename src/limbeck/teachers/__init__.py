"""Teachers: whatever answers a batch with outputs."""

from limbeck.teachers.bank import SoftTargetBank
from limbeck.teachers.base import Teacher
from limbeck.teachers.cached import CachedTeacher
from limbeck.teachers.ensemble import Ensemble
from limbeck.teachers.lightweight import LightweightTeacher
from limbeck.teachers.live import LiveTeacher

__all__ = ["CachedTeacher", "Ensemble", "LightweightTeacher", "LiveTeacher", "SoftTargetBank", "Teacher"]
