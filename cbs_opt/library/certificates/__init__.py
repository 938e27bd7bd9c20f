"""A certificate for each instance, ``NAME.npz``, as ``python -m benchmarks.exact.instances --publish`` wrote it."""
