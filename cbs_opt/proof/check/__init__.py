"""The trusted base of a certificate: verification in exact arithmetic, with nothing of the search."""
