"""Nightly re-encoding of a live archive: yesterday's many segments become one small archive."""
