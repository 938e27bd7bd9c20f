"""Is a lower model value a better network? Objective and certified gap of many quadratic models against accuracy."""
