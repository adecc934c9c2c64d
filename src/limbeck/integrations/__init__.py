"""Thin adapters for the loops of other libraries, one file each; a library is loaded with its file alone."""
