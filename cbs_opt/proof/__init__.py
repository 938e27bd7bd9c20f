"""Certificates: a lower bound saved with all that re-proves it, and a verifier that shares nothing with the search."""

from cbs_opt.proof.build import from_point, from_records, node_limit_of, prove, require_certifiable
from cbs_opt.proof.record import NotVerifiedError, Proof, Tree, block_digest
from cbs_opt.proof.verify import Verification, verify

__all__ = [
    "NotVerifiedError",
    "Proof",
    "Tree",
    "Verification",
    "block_digest",
    "from_point",
    "from_records",
    "node_limit_of",
    "prove",
    "require_certifiable",
    "verify",
]
