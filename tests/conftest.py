"""Fixtures of every test: the end-to-end ones start a cluster only when a test asks for them."""

from support.e2e_fixtures import base, inputs, lab

__all__ = ["base", "inputs", "lab"]
