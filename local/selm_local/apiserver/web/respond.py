"""Answers: JSON or YAML bytes, warnings, errors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import yaml
from aiohttp import web

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.storage import encode
from selm_local.apiserver.web.negotiate import Wanted


def answer(raw: bytes, wanted: Wanted, status: int = 200, warnings: Iterable[str] = ()) -> web.Response:
    """`raw` is JSON."""
    media_type = wanted.media_type
    if wanted.yaml:
        raw, media_type = to_yaml(json.loads(raw)), "application/yaml"
    response = web.Response(body=raw, status=status, content_type=media_type)
    for text in warnings:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


def answer_object(obj: Any, wanted: Wanted, status: int = 200, warnings: Iterable[str] = ()) -> web.Response:
    return answer(encode(obj), wanted, status, warnings)


def refusal(error: ApiError, *, yaml_wanted: bool = False) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if error.code == 401 else {}
    seconds = (error.details or {}).get("retryAfterSeconds")
    if seconds:
        headers["Retry-After"] = str(seconds)
    response = answer_object(error.status(), Wanted(yaml=yaml_wanted), error.code)
    response.headers.update(headers)
    return response


def no_such_page() -> web.Response:
    return web.Response(status=404, text="404 page not found\n", content_type="text/plain")


def to_yaml(obj: Any) -> bytes:
    text: str = yaml.safe_dump(obj, allow_unicode=True, sort_keys=True)
    return text.encode()
