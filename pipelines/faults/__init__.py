"""Campaigns that break the daemon: power cuts in a whole engine's life, kills of real processes."""
