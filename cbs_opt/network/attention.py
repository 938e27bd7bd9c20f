"""Takes torch's multi-head attention apart, so that its two projections are layers like all others.

``torch.nn.MultiheadAttention`` computes with its weights in one function, and the fast path of
``torch.nn.TransformerEncoder`` does not even call the modules inside it, so that hooks on them see no inputs. In an
*opened* network each attention calls a module ``in_proj`` and its ``out_proj``, and leaves the rest to torch's own
function with identities as projections: it computes the same, up to round-off. Parameters keep names and places.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from cbs_opt.network.copies import sharing_parameters

if TYPE_CHECKING:
    import torch


def own_copy(model: torch.nn.Module, device: str = "cpu") -> torch.nn.Module:
    """A copy of the network to collect curvature from: on ``device``, in eval mode, its attention opened.

    If the network is on that device, the copy shares the memory of its parameters, which must not be written to.
    """
    from cbs_opt.kernel.device import device_named

    return open_attention(sharing_parameters(model).to(device_named(device)).eval())


def open_attention(model: torch.nn.Module) -> torch.nn.Module:
    """Open, in place, each attention module whose queries, keys and values share one input weight; returns the model.

    Cross-attention does not call ``in_proj``, as the rows of its weight have two different inputs.
    """
    import torch

    for module in model.modules():
        if type(module) is torch.nn.MultiheadAttention and module.in_proj_weight is not None:
            module.__class__ = _opened_class()
            module.add_module("in_proj", projection_class()(module))
    return model


def close_attention(model: torch.nn.Module) -> torch.nn.Module:
    """Undo ``open_attention``, in place; returns the model."""
    import torch

    for module in model.modules():
        if type(module) is _opened_class():
            del module.in_proj
            module.__class__ = torch.nn.MultiheadAttention
    return model


@contextmanager
def modules_called() -> Iterator[None]:
    """Inside, torch's transformer layers call their modules, as they do in training."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@cache
def projection_class() -> type[torch.nn.Module]:
    """The class of the modules ``in_proj``."""
    import torch

    class InProjection(torch.nn.Module):
        """x ↦ in_proj_weight x + in_proj_bias, with the parameters of the attention module that holds it."""

        def __init__(self, owner: torch.nn.MultiheadAttention) -> None:
            super().__init__()
            self.__dict__["owner"] = owner  # past __setattr__, or the owner would be its child's child

        @property
        def weight(self) -> torch.Tensor:
            """The weights of queries, keys and values, shape (3·embedding, embedding)."""
            return self.__dict__["owner"].in_proj_weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.weight, self.__dict__["owner"].in_proj_bias)

    return InProjection


@cache
def _opened_class() -> type[torch.nn.MultiheadAttention]:
    import torch
    from torch.nn import functional

    class OpenAttention(torch.nn.MultiheadAttention):
        """``torch.nn.MultiheadAttention`` that calls its projections as modules."""

        def forward(
            self,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            key_padding_mask: torch.Tensor | None = None,
            need_weights: bool = True,
            attn_mask: torch.Tensor | None = None,
            average_attn_weights: bool = True,
            is_causal: bool = False,
        ) -> tuple[torch.Tensor, torch.Tensor | None]:
            projected: tuple[Any, ...] = self._projected(query, key, value)
            if self.batch_first and query.dim() == 3:
                projected = tuple(part.transpose(0, 1) for part in projected)
            one = torch.eye(self.embed_dim, dtype=query.dtype, device=query.device)
            attended, weights = functional.multi_head_attention_forward(
                projected[0],
                projected[1],
                projected[2],
                self.embed_dim,
                self.num_heads,
                None,
                None,
                self.bias_k,
                self.bias_v,
                self.add_zero_attn,
                self.dropout,
                one,
                None,
                training=self.training,
                key_padding_mask=key_padding_mask,
                need_weights=need_weights,
                attn_mask=attn_mask,
                use_separate_proj_weight=True,
                q_proj_weight=one,
                k_proj_weight=one,
                v_proj_weight=one,
                average_attn_weights=average_attn_weights,
                is_causal=is_causal,
            )
            if self.batch_first and query.dim() == 3:
                attended = attended.transpose(0, 1)
            return self.out_proj(attended), weights

        def _projected(self, query: Any, key: Any, value: Any) -> tuple[Any, ...]:
            if query is key and key is value:
                projection: Any = self.in_proj
                return tuple(projection(query).chunk(3, dim=-1))
            weights = self.in_proj_weight.chunk(3)
            biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
            return tuple(
                functional.linear(x, weight, bias)
                for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
            )

    return OpenAttention
