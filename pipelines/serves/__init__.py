"""Does the archived signal still serve? MIT-BIH against its annotations, and recordings of other kinds."""
