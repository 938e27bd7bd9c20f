"""Engines against each other and against rational arithmetic, as long as one likes: ``python -m benchmarks.stress``."""
