"""Heuristics: methods for problems of any size that return a mask quickly, and no proof that it is the best."""
