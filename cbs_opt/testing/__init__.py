"""The laws that methods, patterns and curvatures obey, and awkward instances to try them on: for anyone's own."""

from cbs_opt.testing.curvature_laws import check_curvature
from cbs_opt.testing.method_laws import check_method
from cbs_opt.testing.pattern_laws import check_pattern

__all__ = ["check_curvature", "check_method", "check_pattern"]
