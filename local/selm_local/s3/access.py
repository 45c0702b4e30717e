"""The store's one user: made at the first start, kept in the store's folder, asked for by every request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto import settings
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam import models

from selm_local.state import read_json, write_json

USER = "selm"
FILE = "credentials.json"


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str


def load_credentials(root: Path) -> Credentials:
    """The user's key, made at the first call.

    Raises:
        ValueError: the file is not what this function wrote.
    """
    path = root / FILE
    found = read_json(path)
    if found is None:
        key = _new_key()
        found = {"accessKeyId": key.access_key_id, "secretAccessKey": key.secret_access_key}
        write_json(path, found)
    try:
        return Credentials(found["accessKeyId"], found["secretAccessKey"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no accessKeyId and secretAccessKey") from error


def enforce(credentials: Credentials) -> None:
    """Let this user in and nobody else: from the first request on, every signature is checked."""
    backend: Any = models.iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    user = backend.create_user("us-east-1", USER)
    key = _new_key()
    key.access_key_id, key.secret_access_key = credentials.access_key_id, credentials.secret_access_key
    user.access_keys.append(key)
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    backend.put_user_policy(USER, "all", json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0


def _new_key() -> Any:
    """A key of moto's making: its id says which account it belongs to. (moto's class declares an abstract property
    that it never uses, hence Any.)"""
    make: Any = models.AccessKey
    return make(USER, prefix="AKIA", account_id=DEFAULT_ACCOUNT_ID)
