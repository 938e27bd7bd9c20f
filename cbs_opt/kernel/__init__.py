"""The bottom room: the problem, its curvature and patterns, the update, and what a method promises."""
