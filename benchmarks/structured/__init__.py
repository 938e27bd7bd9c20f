"""Structured pruning of a whole network: accuracy, size and time of the smaller one, against the norm of filters."""
