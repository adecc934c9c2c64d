"""Formats that a student leaves limbeck in: what travels with it, how it is traced, and how it is checked."""
