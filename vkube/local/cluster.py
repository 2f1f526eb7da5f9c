"""The product on one machine: the real cluster agent and the real webhook as processes, Pods by the runner.

Plain code here does what a cluster would do: it makes Pods from workloads as the controllers do, applies the
namespace selector, binds tokens to Pods, and keeps the bootstrap Secrets in memory.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from certs import CLUSTER_AGENT, ControlPlaneCertificates
from service.cluster_agent_calls import ClusterAgentAddress, mutual_tls
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallUnanswered
from vkube.admission import namespace_annotations
from vkube.local.admission import Admitted, admit
from vkube.local.controllers import claims_of, job_of, job_pod, named, pods_of
from vkube.local.jobs import JobPod, Phase, next_step
from vkube.local.manifests import Manifest, Manifests
from vkube.local.resources import LocalResources
from vkube.local.service_addresses import ServiceAddresses
from vkube.local.token_issuer import TokenIssuer
from vkube.runner import BackOff, Node, RunnerError, RunningPod
from webhook.layout import ENABLED, INJECT_LABEL
from webhook.pod import Pod
from webhook.policy import skip_pod
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.memory_secrets import MemorySecrets
from webhook.reconciler.reconcile import reconcile

# Shorter than a kubelet's: somebody waits at the terminal.
BACK_OFF = BackOff(first=1.0, longest=30.0)
_GRACE_SECONDS = 5.0
_JOB_SECONDS = 0.2
_MOST_UNANSWERED = 5
_SERVER_NAME = CLUSTER_AGENT.dns_names()[0]


def _ignored(*_: object) -> None:
    pass


@dataclass(frozen=True)
class LocalSettings:
    """What a user of local mode can choose, and what is called when something happens.

    Attributes:
        on_line: a line of a container's output: the Pod's name, the container's, the line.
        on_start: a Pod was admitted and started.
        on_change: a Pod's status may have changed.
        on_note: something that the user should know, such as a Pod that cannot be run, or a Job's end.
    """

    name_prefix: str = "local:dev"
    ttl_seconds: int = 3600
    minimum_ttl_seconds: int = 300
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    on_line: Callable[[str, str, str], None] = _ignored
    on_start: Callable[[Started], None] = _ignored
    on_change: Callable[[RunningPod], None] = _ignored
    on_note: Callable[[str], None] = _ignored


@dataclass(frozen=True)
class Started:
    """A Pod as admitted and as running. `untouched` states why the webhook changed nothing, if it did not."""

    admitted: Admitted
    untouched: str
    pod: RunningPod


class LocalCluster:
    """Running services and Pods.

    Attributes:
        secrets: the bootstrap Secrets, as the reconciler left them.
        tokens: the issuer of the Pods' tokens.
        cluster_agent_url, certificates: to call the cluster agent with.
    """

    def __init__(
        self,
        settings: LocalSettings,
        node: Node,
        resources: LocalResources,
        services: ServiceAddresses,
        secrets: MemorySecrets,
        tokens: TokenIssuer,
        certificates: ControlPlaneCertificates,
        cluster_agent_url: str,
        webhook: httpx.AsyncClient,
    ) -> None:
        self.settings = settings
        self.node = node
        self.secrets = secrets
        self.tokens = tokens
        self.certificates = certificates
        self.cluster_agent_url = cluster_agent_url
        self._resources = resources
        self._services = services
        self._webhook = webhook
        self._namespaces: dict[str, Manifest] = {}
        self._jobs: list[asyncio.Task[None]] = []
        self._of_jobs: set[RunningPod] = set()
        self._not_run = 0
        self._job_failures: list[int] = []
        self._chance = random.Random()  # noqa: S311 - for names and spreading, not for identities

    def administrator(self) -> AgentSecrets:
        """The cluster agent's secrets, with the webhook's certificate."""
        own, roots = self.certificates.webhook, self.certificates.roots
        address = ClusterAgentAddress(self.cluster_agent_url, _SERVER_NAME)
        return AgentSecrets(
            ClusterAgentClient(address, mutual_tls(own.principal, own.blessing, roots)), roots
        )

    async def apply(self, manifests: Manifests) -> list[Started]:
        """Admits and starts the manifests' Pods, which it returns, and begins their Jobs, which make their
        Pods by themselves. A Pod that cannot be run is told by `on_note`, and makes the exit code 1.

        Raises AdmissionRefused, LocalModeError.
        """
        self._resources.data |= manifests.data
        self._resources.claims |= manifests.claims
        self._namespaces |= manifests.namespaces
        for name, place in manifests.namespaces.items():
            for text in namespace_annotations.without_effect(place):
                self.settings.on_note(f"Namespace {name}: {text}")
        for service in manifests.services:
            await self._services.add(service)
        workloads = [named(workload, self._chance) for workload in manifests.workloads]
        jobs = [one for one in workloads if one["kind"] == "Job"]
        for cron_job in (one for one in workloads if one["kind"] == "CronJob"):
            jobs.append(job := job_of(cron_job, self._chance))
            self.settings.on_note(
                f"CronJob {_title(cron_job)} is started once, now, as Job {job['metadata']['name']}; "
                "its schedule is not followed"
            )
        pods = []
        for workload in workloads:
            if workload["kind"] not in ("Job", "CronJob"):
                made = pods_of(workload, self._chance)
                self._resources.claims |= claims_of(workload, made)
                pods += made
        accounts: dict[str, set[str]] = {}
        for pod in [*pods, *(job_pod(job, None, self._chance) for job in jobs)]:
            namespace = pod["metadata"]["namespace"]
            if self._is_labelled(namespace):
                accounts.setdefault(namespace, set()).add(pod["spec"]["serviceAccountName"])
        for namespace, names in accounts.items():
            await asyncio.to_thread(self._reconcile, namespace, names)
        started = [one for pod in pods if (one := await self._start(pod)) is not None]
        self._jobs += [asyncio.create_task(self._run_job(job)) for job in jobs]
        return started

    async def finished(self) -> None:
        """Returns when every Job and every Pod has ended by itself: never while one runs that is to run for
        ever. Raises what made a Job impossible."""
        await asyncio.gather(*self._jobs, *(pod.wait_finished() for pod in self.node.pods))

    def exit_code(self) -> int:
        """0 when nothing failed; else that of the first Job that failed, of a Pod that failed, or 1 for a Pod
        that could not be run."""
        pods = [pod for pod in self.node.pods if pod not in self._of_jobs]
        codes = [*self._job_failures, *(exit_code_of(pod.status) for pod in pods), min(self._not_run, 1)]
        return next((code for code in codes if code), 0)

    async def stop(self) -> None:
        """Ends every Job and every Pod."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self.node.stop(grace_seconds=_GRACE_SECONDS)
        self._services.close()

    async def _start(self, pod: Manifest) -> Started | None:
        namespace = pod["metadata"]["namespace"]
        if self._is_labelled(namespace):
            annotations = namespace_annotations.of(self._namespaces.get(namespace))
            pod = namespace_annotations.stating(pod, annotations)
            admitted = await admit(self._webhook, pod)
            untouched = "" if admitted.patch else why_untouched(pod)
        else:
            admitted = Admitted(pod, [], [])
            untouched = (
                f"its namespace is not labelled {INJECT_LABEL}={ENABLED}; add a Namespace "
                f"{namespace} with that label to the manifests"
            )
        try:
            running = await self.node.run(admitted.pod, self.settings.on_change)
        except (RunnerError, OSError) as error:
            self._not_run += 1
            self.settings.on_note(f"Pod {_title(pod)} is not run: {error}")
            return None
        started = Started(admitted, untouched, running)
        self.settings.on_start(started)
        return started

    async def _run_job(self, job: Manifest) -> None:
        """Does what the Job's controller would, until the Job has ended."""
        pods: list[tuple[int | None, RunningPod]] = []
        while True:
            step = next_step(job["spec"], [_job_pod(index, pod) for index, pod in pods])
            if step.outcome is not None:
                break
            if step.start and any(pod.status["phase"] == "Failed" for _, pod in pods):
                await asyncio.sleep(BACK_OFF.pause(len(pods) - 1))
            for index in step.start:
                started = await self._start(job_pod(job, index, self._chance))
                if started is None:
                    return
                pods.append((index, started.pod))
                self._of_jobs.add(started.pod)
            # Polled: a restart in place changes the step too, and a Job of local mode has few Pods.
            await asyncio.sleep(_JOB_SECONDS)
        unfinished = [pod for _, pod in pods if not pod.is_finished]
        await asyncio.gather(*(self.node.stop_pod(pod) for pod in unfinished))
        self.settings.on_note(f"Job {_title(job)}: {step.outcome}")
        if step.outcome == "Failed":
            self._job_failures.append(max((exit_code_of(pod.status) for _, pod in pods), default=0) or 1)

    def _is_labelled(self, namespace: str) -> bool:
        """Returns whether the webhook configuration's namespaceSelector would match."""
        metadata = self._namespaces.get(namespace, {}).get("metadata") or {}
        return bool((metadata.get("labels") or {}).get(INJECT_LABEL) == ENABLED)

    def _reconcile(self, namespace: str, accounts: set[str]) -> None:
        is_last, unanswered = False, 0
        while not is_last:
            try:
                with self.administrator() as agent:
                    now = datetime.now(UTC)
                    is_last = reconcile(namespace, accounts, agent=agent, store=self.secrets, now=now).is_last
            except CallUnanswered:  # such as a connection that this machine was too slow for
                unanswered += 1
                if unanswered == _MOST_UNANSWERED:
                    raise


def why_untouched(pod: Manifest) -> str:
    """Why the webhook left the Pod of a labelled namespace as it is, by the webhook's own policy."""
    skip = skip_pod(Pod(pod))
    return skip.message if skip is not None else "it has all that the webhook adds"


def exit_code_of(status: Mapping[str, Any]) -> int:
    """The first exit code of a Pod's containers that is not 0; 0 when there is none."""
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    codes = [one["state"].get("terminated", {}).get("exitCode", 0) for one in containers]
    return next((code for code in codes if code), 0)


def _job_pod(index: int | None, pod: RunningPod) -> JobPod:
    status = pod.status
    phase: Phase = status["phase"] if status["phase"] in ("Succeeded", "Failed") else "Running"
    return JobPod(index, phase, sum(one["restartCount"] for one in status["containerStatuses"]))


def _title(manifest: Manifest) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
