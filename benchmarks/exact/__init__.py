"""Exact engines against each other: ``python -m benchmarks.exact --help``."""
