"""A report for people: is the quality kept, and does the archived signal still serve? HTML and JSON in one folder."""

from sanstream.report.write import report

__all__ = ["report"]
