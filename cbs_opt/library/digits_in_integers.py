"""The embedded digits network in fixed-point arithmetic, so that every machine computes the same inputs and gradients.

The weights that come with the package are rounded to multiples of 2^-12, and the biases to the unit of their layer's
outputs. The pixels of scikit-learn's images are whole numbers from 0 to 16. All else consists of sums and products of
integers, and of right shifts, which round down; only the softmax is computed in decimal arithmetic of 30 digits and
rounded to 2^-12.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cbs_opt.network.reference.digits import digits_weights

Whole = NDArray[np.int64]

WEIGHT_BITS = 12
"""Weights are whole multiples of 2^-WEIGHT_BITS."""
INPUT_BITS = (4, 8, 8)
"""With b the entry of a layer, the inputs of fc1 (the pixels), fc2 and fc3 are whole multiples of 2^-b."""
GRADIENT_BITS = 12
"""Gradients of the outputs of every layer are whole multiples of 2^-GRADIENT_BITS."""

LAYERS = ("fc1", "fc2", "fc3")


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of the network with its inputs and gradients on m images.

    Parameters
    ----------
    weights : integers, shape (d_out, d_in)
        The weights in units of 2^-WEIGHT_BITS.
    inputs : integers, shape (m, d_in)
        The inputs of the layer in units of 2^-input_bits.
    output_gradients : integers, shape (m, d_out)
        For each image, the gradient of the cross-entropy at its label with respect to the layer's outputs, in units of
        2^-GRADIENT_BITS.
    input_bits : int
        The number of bits that gives the unit of ``inputs``.
    """

    weights: Whole
    inputs: Whole
    output_gradients: Whole
    input_bits: int

    def gradients(self, chosen: slice) -> Whole:
        """The gradient of each image's loss with respect to the ``chosen`` entries of the flattened weights.

        The shape is (m, number of chosen entries), and the unit 2^-(GRADIENT_BITS + input_bits).
        """
        rows, columns = np.divmod(np.arange(self.weights.size)[chosen], self.weights.shape[1])
        return np.asarray(self.output_gradients[:, rows] * self.inputs[:, columns])


@cache
def layers(m: int) -> dict[str, Layer]:
    """The three layers on the first m images of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels, labels = images[:m].astype(np.int64), labels[:m]
    weights = {name: _whole(name, "weight", WEIGHT_BITS) for name in LAYERS}
    inputs, outputs = [pixels], []
    for layer, name in enumerate(LAYERS):
        bits = INPUT_BITS[layer] + WEIGHT_BITS
        outputs.append(inputs[-1] @ weights[name].T + _whole(name, "bias", bits))
        if layer < 2:
            inputs.append(np.maximum(outputs[-1], 0) >> (bits - INPUT_BITS[layer + 1]))
    gradients = [_softmax_errors(outputs[2], INPUT_BITS[2] + WEIGHT_BITS, labels)]
    for layer in (1, 0):
        behind = gradients[0] @ weights[LAYERS[layer + 1]] >> WEIGHT_BITS
        gradients.insert(0, np.where(outputs[layer] > 0, behind, 0))
    return {
        name: Layer(weights[name], inputs[layer], gradients[layer], INPUT_BITS[layer])
        for layer, name in enumerate(LAYERS)
    }


def _whole(layer: str, kind: str, bits: int) -> Whole:
    values = digits_weights()[f"{layer}.{kind}"].double().numpy()
    return np.rint(np.ldexp(values, bits)).astype(np.int64)


def _softmax_errors(logits: Whole, bits: int, labels: NDArray[np.int64]) -> Whole:
    """The probabilities of the softmax minus 1 at the label, shape (m, 10), in units of 2^-GRADIENT_BITS."""
    errors = np.empty_like(logits)
    one = 2**GRADIENT_BITS
    with localcontext() as context:
        context.prec = 30
        for row, (sample, label) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True)):
            powers = [(Decimal(value - max(sample)) / 2**bits).exp() for value in sample]
            shares = [int((power / sum(powers) * one).to_integral_value()) for power in powers]
            errors[row] = [share - one * (place == label) for place, share in enumerate(shares)]
    return errors
