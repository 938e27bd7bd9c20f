"""The library of instances: published anew, and every engine on it: ``python -m benchmarks.exact.instances --help``."""
