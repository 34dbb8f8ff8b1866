"""Models some of whose layers compute with the same weights."""

__all__: list[str] = []
