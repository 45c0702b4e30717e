"""Replies that were paid for, in the store: one object a reply, committed or absent, shared by the runs of a namespace."""

from __future__ import annotations

import logging

from selm_runtime.artifacts.layout import hex_of
from selm_runtime.artifacts.store import NotFound, Store
from selm_runtime.judge.chat import ChatReply

_log = logging.getLogger(__name__)


class ReplyCache:
    """By the request's key (`ChatRequest.key`). Safe to use from several threads and pods."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._place = f"{namespace}/judge-replies"

    def get(self, key: str) -> ChatReply | None:
        """The kept reply, or None; one that cannot be read is asked for again."""
        try:
            return ChatReply.from_json(self._store.get(self._key(key)))
        except NotFound:
            return None
        except (ValueError, TypeError) as error:
            _log.warning("the kept reply %s is unreadable and asked for again: %s", self._store.uri_of(key), error)
            return None

    def put(self, key: str, reply: ChatReply) -> ChatReply:
        """Keeps the reply and returns the one that counts: where another pod was faster, its reply."""
        if self._store.put(self._key(key), reply.to_json(), if_absent=True):
            return reply
        kept = self.get(key)
        if kept is None:  # unreadable: replaced
            self._store.put(self._key(key), reply.to_json())
            return reply
        return kept

    def _key(self, key: str) -> str:
        name = hex_of(key)
        return f"{self._place}/{name[:2]}/{name}.json"
