"""Images of numbers composed from handwritten digits, for lightweight teachers."""
