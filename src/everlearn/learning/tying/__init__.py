"""Training of models whose layers share weights."""

__all__: list[str] = []
