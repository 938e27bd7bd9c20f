"""Proven lower bounds on the joint problem, and the relaxations and splittings behind them."""
