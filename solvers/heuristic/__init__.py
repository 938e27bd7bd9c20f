"""Selectors for any size: fast, without a proof of their own."""
