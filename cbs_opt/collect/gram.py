"""Layer Gram matrices of many layers from one pass through the network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect.layer_model import LayerModel
from cbs_opt.collect.layer_sums import LayerSums
from cbs_opt.network.inputs import SamplesLike, as_samples
from cbs_opt.network.samples import Precision, answer, batches, copy_in_precision, first_argument
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch


def layer_grams(
    model: torch.nn.Module,
    x: SamplesLike,
    targets: Iterable[Target],
    *,
    damping: float | None = None,
    dampening_frac: float | None = None,
    precision: Precision | None = None,
    batch: int | None = None,
    numbers: NDArray[np.int64] | None = None,
    proving: bool = False,
) -> dict[str, LayerModel]:
    """The quadratic model of each target on the layer Gram (g = 0), by module name, with the network in eval mode.

    A layer that is called several times in one pass has the inputs of all its calls in the sum. X is never held as a
    whole: each batch of inputs is added up and dropped.

    Parameters
    ----------
    model : torch.nn.Module
        The network, which stays as it is; a copy is run, on the network's device.
    x : array, shape (m, ...), or other samples (``cbs_opt.network.inputs``)
        Calibration samples.
    targets : targets
        The layers, from ``find_targets``.
    damping, dampening_frac : float
        Exactly one of them: λ itself, or λ as a fraction of each layer's mean diagonal.
    precision : 'float32' or 'float64', optional
        The precision in which the network computes; its own if left out. Sums over samples are always float64.
    batch : int, optional
        How many samples the network is given at once.
    numbers : int array, shape (m,), optional
        The numbers by which errors name the samples; their positions in ``x`` if left out.
    proving : bool
        Whether bounds on the f of the layers' inputs are to be proven: the sums are then of float64 products, and the
        models know what rounding did to them (``layer_sums``), which takes longer. Otherwise the float64 sums of
        products in the network's precision are the data of the problems made from them: objectives and bounds are about
        these matrices.

    Raises
    ------
    InputError
        Inputs of a layer are not finite (names layer and sample), or a layer is never called.
    """
    import torch

    network = copy_in_precision(model, precision)
    sums = {target.name: LayerSums(target, network.get_submodule(target.name), proving=proving) for target in targets}
    samples = as_samples(x)
    called = np.arange(len(samples)) if numbers is None else numbers
    fed, counted = called[:0], None

    def listen(sum_: LayerSums) -> Any:
        def hook(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            sum_.add(first_argument(args, kwargs), numbers=fed, counted=counted)

        return hook

    for name, sum_ in sums.items():
        network.get_submodule(name).register_forward_pre_hook(listen(sum_), with_kwargs=True)
    with torch.no_grad():
        for part in batches(network, samples, batch):
            inputs = samples.take(part).inputs(network)
            fed, counted = called[part], inputs.counted
            answer(network, inputs)
    return {name: sum_.model(damping, dampening_frac) for name, sum_ in sums.items()}
