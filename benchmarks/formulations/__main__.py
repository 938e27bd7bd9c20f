"""`python -m benchmarks.formulations`."""

from __future__ import annotations

import sys

from benchmarks.formulations.command import main

if __name__ == "__main__":
    sys.exit(main())
