"""Certificates: a lower bound with everything that proves it, and a verifier that uses none of the search's code."""

from cbs_opt.proof.certificate.digest import block_digest
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.certificate.record import NotVerifiedError, Proof, Tree
from cbs_opt.proof.check.verify import Verification, verify
from cbs_opt.proof.make.prove import from_point, from_records, node_limit_of, prove, require_certifiable

__all__ = [
    "Limits",
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
