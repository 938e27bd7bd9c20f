"""Run it; one thread everywhere, said before anything that counts threads is imported."""

import os
import sys

for library in ("OMP", "MKL", "OPENBLAS", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

if __name__ == "__main__":
    from benchmarks.stress.command import main

    sys.exit(main())
