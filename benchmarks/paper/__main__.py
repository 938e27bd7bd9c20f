"""Run it; the number of threads is said before anything that counts threads is imported."""

import os
import sys

for library in ("OMP", "MKL", "OPENBLAS", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "2")

if __name__ == "__main__":
    from benchmarks.paper.command import main

    sys.exit(main())
