"""N:M blocks by bnb and by Gurobi: ``python -m benchmarks.exact.n_of_m --help``."""
