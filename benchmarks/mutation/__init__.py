"""Small mistakes put into the code on purpose, to see which no test notices: ``python -m benchmarks.mutation``."""
