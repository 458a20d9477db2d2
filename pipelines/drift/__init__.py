"""Campaign on drift and retraining: long simulated signals, false alarms, delays, bits before and after."""
