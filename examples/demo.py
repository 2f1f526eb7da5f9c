"""The product in local mode, step by step: `make demo`.

A plain Deployment goes through the real webhook. Its replicas get names from the real cluster agent, call
each other over mTLS, and renew. An attacker with a copy of the Secret gets nothing. Exits with 0, or with 1
and the reason.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import httpx
import structlog
from rich.console import Console
from rich.markup import escape
from stolen_secret import refusal, seek, stolen

from agent_client import AgentClient, AgentError
from pod_agent.credential import Credential
from vkube.errors import VkubeError
from vkube.local.cluster import LocalCluster, LocalSettings, Started
from vkube.local.installation import local_cluster
from vkube.local.manifests import read

FORTUNE = Path(__file__).parent / "fortune"
READY_SECONDS = 120.0
# Short, so that the demo shows a renewal; the default is 1 h.
TTL_SECONDS = 12

console = Console(highlight=False, emoji=False, soft_wrap=True)


class DemoError(Exception):
    """Something is not as the demo promises."""


async def demo() -> None:
    began = time.monotonic()
    settings = LocalSettings(
        name_prefix="acme:prod",
        ttl_seconds=TTL_SECONDS,
        minimum_ttl_seconds=1,
        extra_environment={"PYTHONPATH": str(FORTUNE)},
    )
    manifests = read([str(FORTUNE / "deployment.yaml")])
    with tempfile.TemporaryDirectory(prefix="vk-", ignore_cleanup_errors=True) as directory:
        step("Start the cluster agent and the webhook, as processes on loopback, with real TLS")
        async with local_cluster(Path(directory), settings) as cluster:
            say(f"cluster agent at {cluster.cluster_agent_url}, names under acme:prod")
            step("Apply examples/fortune/deployment.yaml, which knows nothing of blessings")
            replicas = await cluster.apply(manifests)
            show_patch(replicas[0])
            step("Every replica wakes up with a name of its own")
            await show_names(replicas)
            step("A replica asks another one who it is, over mTLS, and calls it")
            await show_call(replicas[0], replicas[1])
            await show_call(replicas[1], replicas[0])
            step("The blessings are renewed, with a new key each time")
            await show_renewal(replicas[0])
            step("Somebody copied the Secret")
            await show_stolen_secret(cluster)
    console.print(f"\n[bold green]All of it, in {time.monotonic() - began:.0f} s.[/bold green]")


def show_patch(replica: Started) -> None:
    say(f"the webhook answered for {replica.pod.name} with this JSON Patch:")
    for operation in replica.admitted.patch:
        value = json.dumps(operation["value"])
        say(f"  {operation['op']} {operation['path']}  {value if len(value) < 80 else value[:77] + '…'}")
    if not replica.admitted.patch:
        raise DemoError("the webhook left the Pod as it was")


async def show_names(replicas: list[Started]) -> None:
    await asyncio.gather(*(replica.pod.wait_ready(READY_SECONDS) for replica in replicas))
    names = []
    for replica in replicas:
        (name,) = await asyncio.to_thread(agent_of(replica).names)
        say(f"{replica.pod.ip}  {name}")
        if name.components[-1] != replica.pod.name:
            raise DemoError(f"{replica.pod.name} is named {name}")
        names.append(name)
    if len(set(names)) != len(replicas):
        raise DemoError("two replicas have the same name")


async def show_call(caller: Started, server: Started) -> None:
    address = f"{server.pod.ip}:2345"
    say(f"{caller.pod.name} asks {address}:")
    seen = await fortune(caller, "identify", "--connect", address)
    for line in seen.splitlines():
        say(f"  {line}")
    if f"VALID:     [acme:prod:shop:fortune:{server.pod.name}]" not in seen:
        raise DemoError(f"the name of {server.pod.name} is not valid for {caller.pod.name}")
    say(f"  Get → {await fortune(caller, 'get', '--connect', address)}")


async def show_renewal(replica: Started) -> None:
    agent = agent_of(replica)
    before = await asyncio.to_thread(agent.chain)
    say(f"version {before.version}, until {before.not_after:%H:%M:%S}, key {before.public_key[:23]}…")
    async with asyncio.timeout(TTL_SECONDS + READY_SECONDS):
        after = await asyncio.to_thread(lambda: next(agent.watch(after=before.version)))
    say(f"version {after.version}, until {after.not_after:%H:%M:%S}, key {after.public_key[:23]}…")
    if after.public_key == before.public_key or after.blessing.presented != before.blessing.presented:
        raise DemoError("a renewal keeps the name and changes the key; this one did not")


async def show_stolen_secret(cluster: LocalCluster) -> None:
    copied = stolen(cluster.secrets.secrets["shop"], "fortune")
    without = await seek_with(cluster, copied, "")
    say(f"without a token: {without}")
    token, _ = cluster.tokens.token(
        namespace="elsewhere",
        service_account="fortune",
        audience="vanadium-cluster-agent",
        pod_name="thief",
        pod_uid="thief",
        lifetime=timedelta(hours=1),
    )
    elsewhere = await seek_with(cluster, copied, token)
    say(f"with a real token of a pod in another namespace: {elsewhere}")
    if not without.startswith("403 TokenMissing") or not elsewhere.startswith("403 TokenOfOtherNamespace"):
        raise DemoError("the copied Secret was not refused as it should be")


async def seek_with(cluster: LocalCluster, credential: Credential, token: str) -> str:
    """The cluster agent's answer to a client with this credential and this token."""
    return refusal(await asyncio.to_thread(seek, cluster.cluster_agent_url, credential, token))


async def fortune(replica: Started, *arguments: str) -> str:
    code, output = await replica.pod.execute("fortune", ["python", "-m", "fortune", *arguments])
    if code != 0:
        raise DemoError(f"fortune {' '.join(arguments)} in {replica.pod.name} ended with {code}: {output}")
    return output


def agent_of(replica: Started) -> AgentClient:
    return AgentClient(replica.pod.path_in("fortune", "/run/vanadium/agent.sock"))


def step(title: str) -> None:
    console.print(f"\n[bold]■ {escape(title)}[/bold]")


def say(line: str) -> None:
    console.print(f"  {escape(line)}")


def main() -> int:
    # A user of the terminal does not want the routine log lines of the services.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        asyncio.run(demo())
    except (DemoError, VkubeError, AgentError, httpx.HTTPError, TimeoutError) as error:
        console.print(f"\n[bold red]The demo failed: {escape(str(error) or type(error).__name__)}[/bold red]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
