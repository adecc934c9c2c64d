"""Distilling sentence encoders for search."""
