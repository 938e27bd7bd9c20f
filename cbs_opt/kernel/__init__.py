"""What all else rests on: the problem, its curvature and patterns, the update, and what a method declares."""
