"""The accuracy tables of the CBS paper, run anew: all selectors, sparsities and seeds, one-shot and multi-stage."""
