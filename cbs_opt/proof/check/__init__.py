"""The verifier, the only code that has to be trusted for a certificate: exact arithmetic, and nothing of the search."""
