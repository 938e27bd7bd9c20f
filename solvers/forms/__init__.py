"""The forms a problem takes inside solvers: unit diagonal, a layer's rows as tensors, states of weights in a tree."""
