"""One certificate for each instance, ``NAME.npz``, written by ``python -m benchmarks.exact.instances --publish``."""
