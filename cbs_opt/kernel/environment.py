"""What a number was measured with: versions, threads, device."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib import metadata

PACKAGES = ("cbs-opt", "numpy", "scipy", "numba", "torch", "pyomo", "highspy")


@cache
def environment() -> dict[str, str]:
    """Versions of this package and of those that it computes with, processor, cores, thread limit and device.

    No package is imported for this, so packages that are installed but unused cost no time.
    """
    facts = {package: _version(package) for package in PACKAGES}
    facts["python"] = platform.python_version()
    facts["machine"] = platform.machine()
    facts["cores"] = str(os.cpu_count())
    facts["threads"] = os.environ.get("OMP_NUM_THREADS", "unset")
    facts["device"] = "cpu"
    return facts


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
