"""Verifying an instance: its block is rebuilt and compared with its digest, and its certificate is verified."""

from __future__ import annotations

import numpy as np

from cbs_opt.library.catalogue import Instance
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.certificate.record import NotVerifiedError, Progress
from cbs_opt.proof.check.verify import Verification, verify


def check(instance: Instance, *, progress: Progress | None = None) -> Verification:
    """Verify what is published of ``instance``, in exact arithmetic.

    Its certificate must prove the published ``certified`` bound for the instance's pattern, and the loss of its mask
    must not exceed the published objective by more than round-off.

    Parameters
    ----------
    instance : Instance
        The instance, from ``instance(name)`` or ``instances()``.
    progress : callable, optional
        Called as ``progress(done, nodes)`` from time to time.

    Returns
    -------
    Verification
        What was proven.

    Raises
    ------
    NotVerifiedError
        A step of the certificate fails, or it does not prove what is published.
    InputError
        The rebuilt block has other numbers than those published, or the certificate cannot be read.
    """
    problem, proof, known = instance.problem(), instance.certificate(), instance.known
    limits = Limits.of(problem)
    ours, theirs = ([s.labels, s.room, s.keep, s.forbid] for s in (limits, proof.limits))
    if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise NotVerifiedError(f"instance {instance.name}: its certificate is about another pattern, {proof.limits}")
    verification = verify(problem, proof, progress=progress)
    if verification.bound < known.certified:
        raise NotVerifiedError(
            f"instance {instance.name}: {known.certified!r} is published, but only {verification.bound!r} is proven"
        )
    if verification.objective > known.objective * (1.0 + 1e-12):
        raise NotVerifiedError(
            f"instance {instance.name}: an objective of {known.objective!r} is published, but the certificate's mask "
            f"has {verification.objective!r}"
        )
    return verification
