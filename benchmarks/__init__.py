"""Benchmarks: speed and quality of everlearn, and of other projects on the same streams."""
