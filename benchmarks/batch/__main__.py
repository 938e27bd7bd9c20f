"""Run it: ``python -m benchmarks.batch --help``."""

import sys

if __name__ == "__main__":
    from benchmarks.batch.command import main

    sys.exit(main())
