"""Layers of a language model: selectors, exact updates and bounds at their size."""
