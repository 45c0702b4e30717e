"""OpenAPI v3: an index, and one document a group version."""

from __future__ import annotations

from selm_local.apiserver.catalog import Catalog
from selm_local.apiserver.storage import encode


class OpenApi:
    def __init__(self, catalog: Catalog):
        self._catalog = catalog

    def index(self) -> bytes:
        return encode({"paths": {}})

    def document(self, path: str) -> bytes | None:
        return None
