"""Run it."""

import sys

if __name__ == "__main__":
    from benchmarks.gpu.command import main

    sys.exit(main())
