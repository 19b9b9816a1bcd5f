"""The command line: it reads words, calls the rooms and shows their answers; it computes nothing.

Only the room's edge, `main`, touches the process: threads, the allocator and the log.
"""

from layerwise.cli._main import app, main

__all__ = ["app", "main"]
