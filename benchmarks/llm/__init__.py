"""A language model pruned: perplexity, layer errors and certified gaps of the selectors, and whether they agree."""
