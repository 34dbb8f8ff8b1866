"""What is served while a stream is learned: a base, what came since as rows, and when a base is made anew."""

__all__: list[str] = []
