"""Fixtures of every test: the end-to-end ones start a cluster only when a test asks for them.

`make test` decides whether a change lands, so its property tests draw the same examples for the same code. Those that
`make test-long` adds draw new ones each time (profile "search"): there a failure that nobody has seen is looked for.
"""

from hypothesis import settings

from support.e2e_fixtures import base, inputs, lab

__all__ = ["base", "inputs", "lab"]

settings.register_profile("search", derandomize=False)
settings.register_profile("gate", derandomize=True)
settings.load_profile("gate")
