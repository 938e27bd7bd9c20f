"""Collects curvature from a network: per-sample gradients, layer Gram matrices, and layers one after the other."""

from cbs_opt.collect.gradients import GradientFactor, Gradients, gradient_factor, gradients
from cbs_opt.collect.gram import layer_grams
from cbs_opt.collect.layer_model import LayerModel
from cbs_opt.collect.sequential import SequentialLayers, sequential_layers

__all__ = [
    "GradientFactor",
    "Gradients",
    "LayerModel",
    "SequentialLayers",
    "gradient_factor",
    "gradients",
    "layer_grams",
    "sequential_layers",
]
