"""Forms that a problem takes inside solvers: unit diagonal, a layer's rows as tensors, parts, states in a tree."""
