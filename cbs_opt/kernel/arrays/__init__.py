"""Arrays: the names of their types, checks that say what is wrong with a given one, sums rounded to the safe side."""
