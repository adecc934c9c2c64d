"""Teachers: whatever answers a batch with outputs."""

from limbeck.teachers.base import Teacher
from limbeck.teachers.live import LiveTeacher

__all__ = ["LiveTeacher", "Teacher"]
