"""Jobs over whole archives: activations for DuckDB, everything verified, banks trained anew."""
