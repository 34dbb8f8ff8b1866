"""Other projects on the same streams; each script runs inside the environment of ``make peers``.

Nothing here imports everlearn, so that the peers' environment needs none of its dependencies.
"""
