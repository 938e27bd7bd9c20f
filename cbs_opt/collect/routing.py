"""Finds the layers that see tokens which the network has chosen by what it computed, like the experts of a mixture.

In the pruned network such a layer sees other tokens than in the dense one, or the same tokens in another order: its
inputs in the two networks are no pairs, even if there are equally many. To find these layers, tensors are followed from
operation to operation while a network runs on some samples. A tensor is

- *varying* if it is the output of a layer that is to be pruned, or is computed from such an output; every other tensor,
  like a mask made from the network's inputs, is the same in both networks;
- *chosen* if it holds whole numbers or truth values computed from varying tensors (the indices of ``topk``, a
  comparison), or is computed from chosen tensors alone, like zeros and ones made from truth values;
- *routed* if an operation takes it from activations by chosen positions (indexing, a product with chosen zeros and
  ones), or it is computed from a routed tensor, until it is put back by chosen positions, or added to a tensor that was
  never routed.

Element-wise operations move nothing, nor does putting tensors side by side, or back to where the greatest number of a
window was. Python lists are not followed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PUTTING_BACK = ("index_put", "_index_put_impl", "index_add", "index_copy", "index_reduce", "scatter", "masked_scatter")
"""How the names of operations begin that write to positions; they write to their first tensor."""

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "matmul", "einsum")

IN_PLACE = ("where", "masked_fill", "_scaled_dot_product", "scaled_dot_product", "cat", "stack", "max_unpool")
"""How the names of operations begin that move nothing, beside those that torch calls pointwise."""

OWN_OUTPUTS = "the goal is what the dense weights make of those that are seen in the pruned network"


def note_of(routed: list[str]) -> list[str]:
    """A note on the layers that are fitted to their own outputs; no note if there are none."""
    if not routed:
        return []
    names = ", ".join(routed[:3]) + (f" and {len(routed) - 3} more" if len(routed) > 3 else "")
    return [
        f"layers {names}: see tokens that the network chooses, in the pruned network others than in the dense one, "
        f"so {OWN_OUTPUTS}"
    ]


class Followed:
    """What is known of the tensors so far, by the memory that holds them.

    Parameters
    ----------
    model : torch.nn.Module
        The network; its parameters and buffers are no activations.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._own: set[int] = set()
        self._varying: set[int] = set()
        self._chosen: set[int] = set()
        self._routed: set[int] = set()
        self._known: list[Any] = []  # weak references: they hold no memory, but its address is not reused
        for x in (*model.parameters(), *model.buffers()):
            self._mark(x, self._own)

    def answered(self, value: Any) -> None:
        """Note that a layer which is to be pruned has returned ``value``."""
        for x in _tensors(value):
            self._mark(x, self._varying)

    def is_routed(self, value: Any) -> bool:
        """Whether the value is a tensor that is routed."""
        import torch

        return isinstance(value, torch.Tensor) and _place(value) in self._routed

    def note(self, func: Any, given: list[torch.Tensor], found: list[torch.Tensor]) -> None:
        """Note that an operation has computed the tensors ``found`` from those ``given``."""
        if not any(_place(x) in self._varying for x in given):
            return
        chosen = [x for x in given if _place(x) in self._chosen]
        activations = [x for x in given if x.is_floating_point() and not self._is_chosen_or_own(x)]
        weighted = any(x.is_floating_point() and _place(x) in self._own for x in given)
        for x in found:
            self._mark(x, self._varying)
            if not x.is_floating_point() or not (activations or weighted):
                self._mark(x, self._chosen)
            elif not activations:
                continue  # a codebook's entries, say: the network's own numbers, one for each position
            elif self._moves(func, chosen, activations, x):
                self._mark(x, self._routed)
            elif _place(x) in self._routed and _name(func).startswith("add"):
                self._routed.discard(_place(x))  # in place

    def _moves(
        self, func: Any, chosen: list[torch.Tensor], activations: list[torch.Tensor], found: torch.Tensor
    ) -> bool:
        """Whether the tensor ``found``, which an operation computed from activations, is routed."""
        name = _name(func)
        routed = [x for x in activations if self.is_routed(x)]
        if chosen and name.startswith(PUTTING_BACK):
            return self.is_routed(activations[0]) and activations[0].shape == found.shape
        if chosen and name in PRODUCTS:
            return not routed if any(x.is_floating_point() for x in chosen) else bool(routed)
        if any(not x.is_floating_point() for x in chosen) and not _moves_nothing(func):
            return True
        if name.startswith("add") and any(x.shape == found.shape and not self.is_routed(x) for x in activations):
            return False
        return bool(routed)

    def _is_chosen_or_own(self, x: torch.Tensor) -> bool:
        return _place(x) in self._chosen or _place(x) in self._own

    def _mark(self, x: torch.Tensor, known: set[int]) -> None:
        from torch.multiprocessing.reductions import StorageWeakRef

        if _place(x) not in known:
            known.add(_place(x))
            self._known.append(StorageWeakRef(x.untyped_storage()))  # type: ignore[no-untyped-call]


def following(followed: Followed) -> Any:
    """A context in which all operations are noted."""
    return _mode_class()(followed)


@cache
def _mode_class() -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Following(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __init__(self, followed: Followed) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self._followed = followed

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            self._followed.note(func, _tensors((args, kwargs or {})), _tensors(found))
            return found

    return Following


def _name(func: Any) -> str:
    """The plain name of an operation: 'index_put' for aten::index_put_."""
    return str(getattr(func, "__name__", "")).split(".")[0].rstrip("_")


def _moves_nothing(func: Any) -> bool:
    import torch

    return torch.Tag.pointwise in getattr(func, "tags", ()) or _name(func).startswith(IN_PLACE)


def _place(x: torch.Tensor) -> int:
    return int(x.untyped_storage()._cdata)


def _tensors(value: Any) -> list[torch.Tensor]:
    import torch
    from torch.utils._pytree import tree_leaves

    leaves = (leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]
