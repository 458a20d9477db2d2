"""Measure re-encoding on worker processes, and kill them."""
