"""What a pod needs before its first container starts: folders, volumes, names, devices, and what it refers to."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from selm_local.apiserver.errors import ApiError
from selm_local.apiserver.resources import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS
from selm_local.controllers.objects import Obj, name_of, namespace_of, uid_of
from selm_local.node import volumes
from selm_local.node.context import NodeContext
from selm_local.node.devices import DevicesExhausted, gpus_wanted
from selm_local.node.hosts import hostname_of, render_hosts
from selm_local.node.runs import PodFolder
from selm_local.node.sources import Sources, references
from selm_local.node.spec import Surroundings, unsupported
from selm_local.node.status import Waiting
from selm_local.node.tokens import ROOT_CA, PodTokens, token_sources, wants_token, with_token_volume
from selm_local.state import write_json

MACHINE_HOSTS = Path("/etc/hosts")


class NotYet(Exception):
    """Something is missing that may come: to be tried again. `waiting`: what the containers say meanwhile."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(waiting.message or waiting.reason)
        self.waiting = waiting


class Preparation:
    """Prepares one pod, and frees what it held."""

    def __init__(self, context: NodeContext, folder: PodFolder, pod: Obj) -> None:
        self._context = context
        self._folder = folder
        self._namespace = namespace_of(pod)
        self._hostname = hostname_of(pod)
        self._made: Surroundings | None = None
        self._tokens: PodTokens | None = None
        self._stale = False

    @property
    def surroundings(self) -> Surroundings:
        """What `prepare` made."""
        assert self._made is not None, "prepare was not called"
        return self._made

    def expire(self) -> None:
        """Let the next `prepare` look for Secrets and ConfigMaps again."""
        self._stale = True

    async def prepare(self, pod: Obj) -> Waiting | None:
        """Make what is missing. Returns why the pod can never start here, or None where it can start now.

        Raises:
            NotYet: something is missing that may come.
        """
        if self._made is not None and not self._stale:
            return None
        if fields := unsupported(pod):
            return Waiting("CreateContainerError", f"not supported by the embedded cluster's node: {', '.join(fields)}")
        self._folder.work.mkdir(parents=True, exist_ok=True)
        pod = await self._with_token(pod)
        sources = await self._sources(pod)
        gpus = self._acquire(pod)
        record = {
            "pod": f"{self._namespace}/{name_of(pod)}",
            "gpus": list(gpus or ()),
            "graceSeconds": pod["spec"].get("terminationGracePeriodSeconds", 30),
        }
        write_json(self._folder.root / "pod.json", record)
        roots = volumes.VolumeRoots(self._folder.volumes, self._context.state.claims)
        try:
            claims = await self._claims(pod)
            made = await asyncio.to_thread(volumes.prepare, pod, roots, sources, claims)
        except volumes.VolumeError as error:
            await self._context.events.record(pod, "Warning", "FailedMount", str(error))
            raise NotYet(Waiting("ContainerCreating", str(error))) from error
        if self._tokens is not None and self._tokens.renew_at is None and token_sources(pod):
            self._tokens.renew_at = self._context.clock()  # an earlier agent minted them: it is not known when
        self.refresh_hosts()
        context = self._context
        base = {**context.base_env, **(context.api.environment() if context.api else {})}
        self._made = Surroundings(self._folder, made, sources, base, context.isolation, gpus, pod)
        self._stale = False
        return None

    def renew_tokens(self) -> float | None:
        """Renew the pod's tokens where it is time. Returns the seconds until the next renewal, None: never."""
        if self._tokens is None:
            return None
        left = self._tokens.renew(self._folder.volumes, self._context.clock())
        return None if left is None else max(left.total_seconds(), 1.0)

    async def _with_token(self, pod: Obj) -> Obj:
        """The pod as its containers are to find it: with a token, where it is to have one."""
        api = self._context.api
        if api is None:
            return pod
        name = pod["spec"].get("serviceAccountName") or "default"
        try:
            account = await self._context.registry.get(SERVICE_ACCOUNTS, self._namespace, name)
        except ApiError as error:
            if error.code != 404:
                raise
            text = f'failed to fetch token: serviceaccount "{name}" not found'
            raise NotYet(Waiting("ContainerCreating", text)) from error
        given = with_token_volume(pod) if wants_token(pod, account) else pod
        self._tokens = PodTokens(api, given, account)
        return given

    def refresh_hosts(self) -> None:
        """Write the names that resolve now into the pod's hosts file, in place: it is mounted in containers."""
        try:
            machine = MACHINE_HOSTS.read_text(encoding="utf-8", errors="replace")
        except OSError:
            machine = "127.0.0.1\tlocalhost\n"
        text = render_hosts(machine, self._hostname, self._context.names.get(self._namespace, [])).encode()
        if self._folder.hosts.exists() and self._folder.hosts.read_bytes() == text:
            return
        handle = os.open(self._folder.hosts, os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.pwrite(handle, text, 0)
            os.ftruncate(handle, len(text))
        finally:
            os.close(handle)

    def release(self) -> None:
        """Free what an ended pod holds: devices and volumes. Its logs stay."""
        self._context.devices.release(self._folder.uid)
        volumes.remove_memory_volumes(self._folder.uid)
        shutil.rmtree(self._folder.volumes, ignore_errors=True)
        for run in self._folder.runs():
            shutil.rmtree(run.folder / "staging", ignore_errors=True)

    def _acquire(self, pod: Obj) -> tuple[int, ...] | None:
        devices = self._context.devices
        if not devices.count:
            return None
        try:
            return devices.acquire(uid_of(pod), gpus_wanted(pod))
        except DevicesExhausted as error:
            raise NotYet(Waiting("ContainerCreating", str(error))) from error

    async def _sources(self, pod: Obj) -> Sources:
        """The Secrets and ConfigMaps that exist of those that the pod names."""
        tokens, api = self._tokens, self._context.api
        mint = None if tokens is None else lambda source: tokens.mint(source, self._context.clock())
        found = Sources(allocatable=self._context.allocatable, token=mint)
        if api is not None:
            found.config_maps[ROOT_CA] = {"data": {"ca.crt": api.ca.decode()}}
        for kind, name in references(pod):
            resource, into = (SECRETS, found.secrets) if kind == "Secret" else (CONFIG_MAPS, found.config_maps)
            try:
                into[name] = await self._context.registry.get(resource, self._namespace, name)
            except ApiError as error:
                if error.code != 404:
                    raise
        return found

    async def _claims(self, pod: Obj) -> set[str]:
        """The names of the PersistentVolumeClaims in the pod's namespace, where the pod needs any."""
        served = self._context.registry.catalog.find("", "v1", "persistentvolumeclaims")
        if served is None or not any("persistentVolumeClaim" in one for one in pod["spec"].get("volumes") or []):
            return set()
        found, _ = await self._context.registry.list(served, self._namespace)
        return {name_of(one) for one in found}
