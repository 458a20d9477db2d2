"""Whether the decoded signal still serves: beats, rhythm, ST level, spectra and pulses, original against decoded."""
