"""Computes per-sample gradients with ``torch.func``, vectorized over as many rows as fit the memory.

A row is the gradient of the mean loss of B samples, times √B. For B = 1 that is the gradient of one sample; for
B > 1, samples being drawn independently, the mean of row·rowᵀ is the empirical Fisher of single samples as long as
the mean gradient is zero (in general it has B − 1 times the mean gradient's outer product on top), from B times
fewer rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect.memory import available_memory
from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.network.inputs import Inputs, Samples
from cbs_opt.network.samples import answer_of, class_scores, run

if TYPE_CHECKING:
    import torch

Loss = Callable[..., "torch.Tensor"]
"""(outputs, labels) to a scalar tensor: the mean over the samples it is given."""

MOST_ROWS = 128
"""The most rows that are computed at once, however much memory there is."""


class RowGradients:
    """The gradient rows of a network; iterating computes them, some at a time.

    Parameters
    ----------
    network : torch.nn.Module
        The network, in eval mode and in the precision wanted; it is not changed.
    x : Samples
        The samples.
    y : array, shape (samples, ...)
        Their labels.
    samples : int array, shape (m, B)
        The positions of the samples that each row is made from.
    tensors : tuple of str
        The names of the parameters to differentiate by.
    loss : callable, optional
        (outputs, labels) → scalar; cross-entropy at the labels if left out.
    chunk : int, optional
        How many rows to compute at once; as many as fit the memory if left out.
    numbers : int array, shape (samples,), optional
        The numbers by which errors name the samples; their positions in ``x`` if left out.

    Attributes
    ----------
    notes : list of str
        What was altered on the way.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        x: Samples,
        y: NDArray[Any],
        samples: NDArray[np.int64],
        tensors: tuple[str, ...],
        loss: Loss | None,
        chunk: int | None,
        numbers: NDArray[np.int64] | None = None,
    ) -> None:
        from torch.func import grad, vmap
        from torch.nn.functional import cross_entropy

        if chunk is not None and chunk < 1:
            raise InputError(f"chunk: is {chunk}; at least 1 is needed")
        self.notes: list[str] = []
        self._network, self._x, self._y, self._samples, self._tensors = network, x, y, samples, tensors
        self._numbers = np.arange(len(x)) if numbers is None else numbers
        self._loss: Loss = (lambda outputs, labels: cross_entropy(answer_of(outputs), labels)) if loss is None else loss
        if loss is None:
            self._y = np.asarray(y).astype(np.int64)
        state = {name: tensor.detach() for name, tensor in (*network.named_parameters(), *network.named_buffers())}
        for name in tensors:
            if name not in dict(network.named_parameters()):
                raise InputError(f"tensor {name!r}: the network has no such parameter")
        self._state, self._chosen = state, {name: state[name] for name in tensors}
        self._given = chunk
        self._activations = _check_outputs(network, x.take(samples[0]), y, loss is None)
        self._one: Callable[..., dict[str, torch.Tensor]] = grad(self._of_rows)
        self._many: Callable[..., dict[str, torch.Tensor]] = vmap(self._one, in_dims=(None, 0, 0))

    def __iter__(self) -> Iterator[tuple[slice, dict[str, torch.Tensor]]]:
        """Yield pairs: a slice of the rows, and their gradients by tensor name, shape (rows in the slice, numel).

        Raises
        ------
        InputError
            A gradient is not finite (names the sample and the tensor).
        TooLargeError
            The given ``chunk`` does not fit the memory (names a number that does), or not even one row does.
        """
        start, chunk = 0, self._given or self._chunk()
        while start < len(self._samples):
            rows = slice(start, min(start + chunk, len(self._samples)))
            try:
                gradients = self._gradients(rows)
            except _OutOfMemory:
                if chunk == 1:
                    raise TooLargeError(
                        "chunk: the gradients of not even one row fit the memory; use a machine with "
                        "more of it, or choose fewer tensors"
                    ) from None
                chunk = self._fitting(start, chunk)
                if self._given is not None:
                    raise TooLargeError(f"chunk: {self._given} rows do not fit the memory; {chunk} do") from None
                self.notes.append(f"gradients are computed {chunk} rows at a time, more do not fit the memory")
                continue
            yield rows, {name: self._checked(name, rows, gradients[name].flatten(1)) for name in self._tensors}
            start = rows.stop

    def _of_rows(self, parameters: dict[str, torch.Tensor], x: Inputs, y: torch.Tensor) -> torch.Tensor:
        return self._loss(x.call(self._network, {**self._state, **parameters}), y)

    def _gradients(self, rows: slice) -> dict[str, torch.Tensor]:
        import torch

        weight = next(iter(self._chosen.values()))
        chosen = self._samples[rows]
        fed = self._x.take(chosen.ravel()).inputs(self._network)
        inputs = fed.each(lambda x: x.reshape(*chosen.shape, *x.shape[1:]))
        labels = torch.from_numpy(self._y[chosen]).to(weight.device)
        scale = sqrt(chosen.shape[1])
        try:
            gradients = self._compute(inputs, labels)
            return {name: gradient * scale if scale != 1 else gradient for name, gradient in gradients.items()}
        except (RuntimeError, MemoryError) as error:
            if _is_out_of_memory(error):
                raise _OutOfMemory from None
            raise

    def _compute(self, inputs: Inputs, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        import torch

        if self._many is not None:
            try:
                return self._many(self._chosen, inputs, labels)
            except (RuntimeError, ValueError) as error:
                if _is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
        rows = [inputs.each(lambda x: x[row]) for row in range(len(labels))]  # noqa: B023
        parts = [self._one(self._chosen, x, y) for x, y in zip(rows, labels, strict=True)]
        if self._many is not None:
            self.notes.append(f"gradients are computed row by row: torch.func.vmap cannot take this network ({reason})")
            self._many = None  # type: ignore[assignment]
        return {name: torch.stack([part[name] for part in parts]) for name in self._tensors}

    def _chunk(self) -> int:
        """How many rows fit the memory, by the size of one row's activations and gradients."""
        weight = next(iter(self._chosen.values()))
        gradients = sum(tensor.numel() for tensor in self._chosen.values()) * weight.element_size()
        # Activations are held once for the backward pass, their gradients and copies come and go: three times in all.
        one = 3 * self._activations + 3 * gradients
        return int(max(1, min(MOST_ROWS, _free(weight.device) / 4 // one)))

    def _fitting(self, start: int, chunk: int) -> int:
        """``chunk`` halved until that many rows fit the memory; 1 is returned without a trial."""
        while chunk > 1:
            chunk //= 2
            try:
                self._gradients(slice(start, start + chunk))
                return chunk
            except _OutOfMemory:
                continue
        return 1

    def _checked(self, name: str, rows: slice, gradient: torch.Tensor) -> torch.Tensor:
        bad = ~gradient.isfinite().all(dim=1)
        if bool(bad.any()):
            chosen = self._numbers[self._samples[rows.start + int(bad.nonzero()[0, 0])]]
            which = f"sample {chosen[0]}" if len(chosen) == 1 else f"the mean of samples {', '.join(map(str, chosen))}"
            raise InputError(
                f"the gradient of {which} with respect to {name} is not finite; "
                "look at this sample and at the network's weights"
            )
        return gradient


class _OutOfMemory(Exception):
    """No memory for so many rows."""


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    # The messages of torch's CPU allocator, on Windows and on other systems.
    words = ("not enough memory", "can't allocate memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)


def _free(device: torch.device) -> float:
    import torch

    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()


def _check_outputs(network: torch.nn.Module, x: Samples, y: NDArray[Any], classes: bool) -> int:
    """The bytes of the activations of samples x; if ``classes``, raise unless every label in y has an output."""
    import torch

    seen = 0

    def note(_: torch.nn.Module, __: Any, value: Any) -> None:
        nonlocal seen
        seen += value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.no_grad():
            outputs = run(network, x)
    finally:
        for hook in hooks:
            hook.remove()
    if classes:
        class_scores(outputs, y, otherwise=", or a loss of your own")
    return seen
