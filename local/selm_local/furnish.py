"""What a new cluster gets before anybody uses it: the bucket, the Secret with the store's credentials, and the CRD."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import boto3
import yaml
from botocore.exceptions import ClientError

from selm_local.apiclient import ApiClient, ApiRefusal, ApiUnavailable
from selm_local.launch import LocalError
from selm_local.state import StateDir
from selm_local.store_access import BUCKET, SECRET, client_arguments, environment

CRD = "selmruns.selm.dev.yaml"


def furnish(state: StateDir) -> list[str]:
    """Makes or renews them. Returns notes on what is missing; raises LocalError where one cannot be made."""
    client = boto3.client("s3", **client_arguments(state))
    try:
        client.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise LocalError(f"the bucket {BUCKET} cannot be made: {error}") from error
    env = environment(state)
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET["name"], "namespace": SECRET["namespace"]},
        "stringData": {name: env[name] for name in keys},
    }
    api = ApiClient(state.kubeconfig)
    try:
        api.apply(f"/api/v1/namespaces/{SECRET['namespace']}/secrets/{SECRET['name']}", secret)
        path = _crd_file()
        if path is None:
            return [f"CRD       crds/{CRD} is not there: the kind SELMRun is not served"]
        crd = yaml.safe_load(path.read_text(encoding="utf-8"))
        where = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        api.apply(where, crd)
        _wait_established(api, where)
    except (ApiRefusal, ApiUnavailable) as error:
        raise LocalError(f"the cluster cannot be furnished: {error}") from error
    return []


def _wait_established(api: ApiClient, where: str) -> None:
    end = time.monotonic() + 30
    while True:
        conditions = (api.get(where).get("status") or {}).get("conditions") or []
        if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
            return
        if time.monotonic() > end:
            raise LocalError(f"the CRD was not established: {conditions}")
        time.sleep(0.05)


def _crd_file() -> Path | None:
    """The CRD's file: in the source tree, or where an installation puts shared data."""
    here = Path(__file__).resolve()
    candidates = [here.parents[2] / "crds" / CRD, Path(sys.prefix) / "share" / "selm" / "crds" / CRD]
    return next((path for path in candidates if path.is_file()), None)
