"""Masks and bounds of layers of a language model: how good, and in how many products of the layer."""
