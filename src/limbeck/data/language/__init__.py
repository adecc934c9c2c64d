"""Texts for language models: documents, their tokens, and the blocks that networks read."""
