"""The store of a batch: an SQLite file that holds every result once."""

from cbs_opt.store.key import result_key
from cbs_opt.store.reader import Store, open_store
from cbs_opt.store.rows import (
    REASONS,
    Block,
    Gap,
    Record,
    Result,
    TracePoint,
    pack_mask,
    pack_weights,
    unpack_mask,
    unpack_weights,
)
from cbs_opt.store.writer import StoreLookup, StoreWriter

__all__ = [
    "REASONS",
    "Block",
    "Gap",
    "Record",
    "Result",
    "Store",
    "StoreLookup",
    "StoreWriter",
    "TracePoint",
    "open_store",
    "pack_mask",
    "pack_weights",
    "result_key",
    "unpack_mask",
    "unpack_weights",
]
