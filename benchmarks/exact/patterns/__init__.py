"""Every pattern with every method, against enumeration: ``python -m benchmarks.exact.patterns --help``."""
