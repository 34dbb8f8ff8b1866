"""``kill -9`` at random moments of a stream; the end must equal that of a run which nobody killed."""
