"""Arguments of objectives, chosen on the validation split under a budget of time."""
