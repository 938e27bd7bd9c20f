"""All compiled loops: what numba translates, and nothing else."""
