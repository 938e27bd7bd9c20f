"""Cutting a network into block files, with a manifest that says where each block's weights live."""

from cbs_opt.blocks.extract import Extraction, extract

__all__ = ["Extraction", "extract"]
