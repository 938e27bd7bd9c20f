"""Run it; OMP_NUM_THREADS (1 if unset) holds for every library, and is said before any of them is imported."""

import os
import sys

threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
for library in ("MKL", "OPENBLAS", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = threads

if __name__ == "__main__":
    from benchmarks.structured.command import main

    sys.exit(main())
