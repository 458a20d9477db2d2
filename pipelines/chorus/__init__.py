"""Sanstream in the CHORUS waveform benchmark: a contestant, its rivals, and a runner that follows the protocol."""
