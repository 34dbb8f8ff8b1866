"""Several labels an example."""

__all__: list[str] = []
