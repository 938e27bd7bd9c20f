"""Run it."""

import sys

if __name__ == "__main__":
    from benchmarks.mutation.command import main

    sys.exit(main())
