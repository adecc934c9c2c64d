"""What several methods are built of: connectors, memories, pairs of stages, the batch of all processes."""
