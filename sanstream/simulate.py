"""Simulated recordings for the demo, for tests and for feeds: seeded, quick, no data needed."""

from __future__ import annotations

from sanstream.simulate_brain import simulate_eeg
from sanstream.simulate_heart import simulate_ecg, simulate_ppg

__all__ = ["simulate_ecg", "simulate_eeg", "simulate_ppg"]
