"""How the embedded S3 is reached: its address and credentials, for the daemons, the cluster and a user's own clients."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from selm_local.launch import Daemon, LocalError
from selm_local.state import StateDir, read_json

BUCKET = "selm"
REGION = "us-east-1"
SECRET = {"namespace": "default", "name": "s3"}


def answers(state: StateDir) -> bool:
    """Whether the store runs and lets its own credentials in."""
    try:
        boto3.client("s3", **client_arguments(state)).list_buckets()
    except (LocalError, BotoCoreError, ClientError):
        return False
    return True


def environment(state: StateDir) -> dict[str, str]:
    """The variables with which AWS clients reach the store. Raises LocalError where it was never started."""
    port = Daemon(state, "s3").record.get("port")
    found = read_json(state.s3 / "credentials.json")
    if port is None or found is None:
        raise LocalError(f"the store of {state.root} was never started; start it with `selm local up`")
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": found["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["secretAccessKey"],
        "AWS_DEFAULT_REGION": REGION,
    }


def client_arguments(state: StateDir) -> dict[str, Any]:
    """For `boto3.client("s3", ...)`; quick to give up, never through a proxy."""
    env = environment(state)
    return {
        "endpoint_url": env["AWS_ENDPOINT_URL"],
        "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
        "region_name": REGION,
        "config": Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, proxies={}),
    }
