"""Run it; one thread everywhere unless the environment names another number, before anything counts threads."""

import os
import sys

for library in ("OMP", "MKL", "OPENBLAS", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

if __name__ == "__main__":
    from benchmarks.networks.command import main

    sys.exit(main())
