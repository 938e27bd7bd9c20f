"""The laws that every method, pattern and curvature obeys, your own included, and awkward instances to test them on."""

from cbs_opt.testing.curvature_laws import check_curvature
from cbs_opt.testing.method_laws import check_method
from cbs_opt.testing.pattern_laws import check_pattern

__all__ = ["check_curvature", "check_method", "check_pattern"]
