"""Judges answers to one problem: runs methods by name, evaluates masks in float64, and proves bounds on them."""
