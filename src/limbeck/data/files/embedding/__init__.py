"""Data for embeddings: collections with queries and judgments, pairs, plain sentences, pairs with a score."""
