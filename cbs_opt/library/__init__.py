"""The open library of instances: blocks that anyone rebuilds to the last bit, with their optima and certificates."""

from cbs_opt.library.catalogue import Instance, instance, instances
from cbs_opt.library.check import check

__all__ = ["Instance", "check", "instance", "instances"]
