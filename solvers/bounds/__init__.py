"""Proven lower bounds."""

