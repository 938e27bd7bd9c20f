"""Formulations × solvers: how strong each model is at its root, and how fast which solver proves it."""
