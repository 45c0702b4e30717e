"""A client that sends exactly what a recorded exchange says, by HTTP or through kubectl."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3
import yaml

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
REQUEST_SECONDS = 60
KUBECTL_SECONDS = 120
KUBECTL = Path(sys.executable).with_name("kubectl")  # of the environment: its prose is part of what is compared


@dataclass(frozen=True)
class Answer:
    """code: of HTTP. body: parsed where it is JSON, else text."""

    code: int
    body: Any
    warning: str = ""

    @property
    def ok(self) -> bool:
        return self.code < 400


class Client:
    """url: the API server's, without a slash at its end. kubeconfig: for kubectl; absent where no step needs it."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        kubeconfig: Path | None = None,
        verify: bool | str = True,
        cert: tuple[str, str] | None = None,
    ):
        self.url = url
        self.kubeconfig = kubeconfig
        self._verify = verify
        self._admin = self._session(token)
        self._admin.cert = cert

    @classmethod
    def of_kubeconfig(cls, path: Path) -> Client:
        """By the current context: a bearer token or a client's certificate."""
        found = yaml.safe_load(path.read_text())
        context = _named(found["contexts"], found["current-context"])["context"]
        cluster = _named(found["clusters"], context["cluster"])["cluster"]
        user = _named(found["users"], context["user"])["user"]
        ca = _file(cluster, "certificate-authority")
        cert, key = _file(user, "client-certificate"), _file(user, "client-key")
        return cls(
            cluster["server"].rstrip("/"),
            token=user.get("token", ""),
            kubeconfig=path,
            verify=ca or not cluster.get("insecure-skip-tls-verify", False),
            cert=(cert, key) if cert and key else None,
        )

    def _session(self, token: str) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # neither a proxy nor another bundle of authorities
        session.verify = self._verify
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        return session

    def send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        token: str = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request. body: text as it is, anything else as JSON. token: of another user than the kubeconfig's."""
        session = self._session(token) if token else self._admin
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        response = session.request(
            method,
            self.url + path,
            params=query,
            data=data,
            headers={"Accept": accept, "Content-Type": content_type, **(headers or {})},
            timeout=REQUEST_SECONDS,
        )
        try:
            parsed = response.json()
        except ValueError:
            parsed = response.text
        return Answer(response.status_code, parsed, response.headers.get("Warning", ""))

    def watch(
        self, path: str, query: dict[str, Any], seconds: float, opened: Callable[[], None]
    ) -> Iterator[dict[str, Any]]:
        """Events of a watch that the server ends after `seconds`; `opened` is called when it has begun."""
        params = {"watch": "true", "timeoutSeconds": int(seconds), **query}
        session = self._session("")
        session.headers.update(self._admin.headers)
        session.cert = self._admin.cert
        with session.get(self.url + path, params=params, stream=True, timeout=seconds + 15) as response:
            opened()
            for line in response.iter_lines():
                if line:
                    yield json.loads(line)

    def kubectl(
        self,
        namespace: str,
        arguments: list[str],
        stdin: str | None,
        tries: int,
        enough: Callable[[subprocess.CompletedProcess[str]], bool],
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl in a namespace until its answer is enough, at most so often, a second apart."""
        command = [str(KUBECTL), "--kubeconfig", str(self.kubeconfig), "-n", namespace, *arguments]
        while True:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
            )
            tries -= 1
            if tries <= 0 or enough(done):
                return done
            time.sleep(1)


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(one for one in entries if one["name"] == name)


def _file(entry: dict[str, Any], key: str) -> str | None:
    """The path of a kubeconfig's file, which may be written into it."""
    if key in entry:
        return str(entry[key])
    data = entry.get(f"{key}-data")
    if data is None:
        return None
    with tempfile.NamedTemporaryFile("wb", prefix="conformance-", delete=False) as file:
        file.write(base64.b64decode(data))
    return file.name
