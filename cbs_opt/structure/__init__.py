"""Structured pruning: which channels go together, which of them to remove, and the smaller network without them."""
