"""What the exact engines claim, measured and recorded: ``python -m benchmarks.exact.evidence --help``."""
