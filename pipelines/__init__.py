"""Runnable work built on the package; the package never imports it."""
