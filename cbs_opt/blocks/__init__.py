"""Cutting a network into block files with a manifest of where each block's weights belong, and assembling answers."""

from cbs_opt.blocks.extract import Extraction, extract

__all__ = ["Extraction", "extract"]
