"""Making certificates: the tree of a search, its points, and what they prove."""
