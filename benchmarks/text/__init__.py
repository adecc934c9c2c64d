"""Distilling text classifiers."""
