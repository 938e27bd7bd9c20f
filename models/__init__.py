"""Pyomo formulations, one a file: mathematics first, then build and extract."""
