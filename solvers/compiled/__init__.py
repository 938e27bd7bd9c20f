"""All compiled loops: the functions that numba compiles, and nothing else."""
