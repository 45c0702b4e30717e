"""Fixtures of the runtime's tests; a module that needs another `world` has its own."""

from support.train_fixtures import tiny, world

__all__ = ["tiny", "world"]
