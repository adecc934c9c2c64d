"""Distilling language models."""
