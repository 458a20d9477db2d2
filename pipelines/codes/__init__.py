"""Codes used directly, without decoding: python -m pipelines.codes.NAME."""
