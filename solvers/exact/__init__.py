"""Exact methods: given time, they prove that their mask is optimal; stopped before, they prove a lower bound."""
