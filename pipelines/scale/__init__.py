"""Scale: archives of very many segments, and what a stream-hour costs."""
