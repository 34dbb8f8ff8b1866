"""What the service costs and bears: see ``python -m benchmarks.service --help``."""
