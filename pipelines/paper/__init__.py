"""The tables of the SAN paper again: Bizopoulos & Koutsouris, arXiv 1907.06592."""
