"""A few calls to the embedded cluster's own API, by its kubeconfig, with the standard library alone."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

TIMEOUT_SECONDS = 10.0
FIELD_MANAGER = "selm-local"


class ApiUnavailable(Exception):
    """The API server did not answer, or not as a server that is ready."""


class ApiRefusal(Exception):
    """The API server refused; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiClient:
    """Reads a kubeconfig of the embedded cluster's form: one cluster, one user with a token."""

    def __init__(self, kubeconfig: Path) -> None:
        found = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster = found["clusters"][0]["cluster"]
        self.server: str = cluster["server"]
        self._token: str = found["users"][0]["user"]["token"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
        # Never through a proxy: the server is on loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def ready(self) -> bool:
        try:
            self._call("GET", "/readyz")
        except (ApiUnavailable, ApiRefusal):
            return False
        return True

    def apply(self, path: str, obj: dict[str, Any]) -> Any:
        """Server-side apply, forced: what this program writes is its own."""
        query = urllib.parse.urlencode({"fieldManager": FIELD_MANAGER, "force": "true"})
        return self._call("PATCH", f"{path}?{query}", obj, "application/apply-patch+yaml")

    def create(self, path: str, obj: dict[str, Any]) -> Any:
        return self._call("POST", path, obj)

    def _call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Content-Type", content_type)
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                text = answer.read().decode()
                return json.loads(text) if answer.headers.get_content_type() == "application/json" else text
        except urllib.error.HTTPError as error:
            raise ApiRefusal(error.code, _message(error)) from error
        except (OSError, ValueError) as error:
            raise ApiUnavailable(f"{self.server} does not answer: {error}") from error


def _message(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or str(error)
