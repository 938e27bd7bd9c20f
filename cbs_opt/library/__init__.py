"""The open library of instances: blocks that anyone can rebuild to the last bit, with their bounds and certificates."""

from cbs_opt.library.catalogue import Instance, instance, instances
from cbs_opt.library.check import check

__all__ = ["Instance", "check", "instance", "instances"]
