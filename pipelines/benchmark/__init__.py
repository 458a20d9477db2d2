"""sanstream and the codecs that people could pick instead, on the same samples in one run."""
