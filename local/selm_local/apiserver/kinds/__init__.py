"""The rules of each kind."""

from selm_local.apiserver.kinds.base import Decoded, DecodeError, Strategy
from selm_local.apiserver.resources import Resource

__all__ = ["DecodeError", "Decoded", "Strategy", "built_in_strategy"]


def built_in_strategy(resource: Resource) -> Strategy:
    return Strategy(resource)
