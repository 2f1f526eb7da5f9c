"""Pods as real processes: order, restarts, probes, the end."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.vkube.runner.resources import MemoryResources
from tests.waiting import PATIENCE_SECONDS, until
from vkube.runner import BackOff, Node, RunnerError, RunningPod, Surroundings, UnsupportedPod, volumes

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
POLITE = f"import signal; signal.signal(15, lambda *_: exit(7)); {SLEEP}"
STUBBORN = f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEP}"


@pytest.fixture
def resources() -> MemoryResources:
    return MemoryResources()


@pytest_asyncio.fixture
async def node(resources: MemoryResources) -> AsyncIterator[Node]:
    with tempfile.TemporaryDirectory(prefix="vk-") as directory:
        surroundings = Surroundings(
            resources, images={"example/app": ["python", "-c", SLEEP]}, back_off=BackOff(0.05, 0.2)
        )
        made = Node(Path(directory), surroundings)
        yield made
        await made.stop(grace_seconds=2)


def container(name: str, code: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "command": ["python", "-c", code], **more}


def pod(*containers: dict[str, Any], init: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": list(containers), "initContainers": init or [], **spec},
    }


def append(word: str) -> str:
    """Code that notes `word` in the shared file."""
    return f"import os; open(os.environ['NOTES'], 'a').write('{word} ')"


NOTED = {
    "env": [{"name": "NOTES", "value": "/notes/file"}],
    "volumeMounts": [{"name": "notes", "mountPath": "/notes"}],
}
NOTES = {"volumes": [{"name": "notes", "emptyDir": {}}]}


def notes(running: RunningPod, name: str) -> str:
    return running.path_in(name, "/notes/file").read_text().strip()


async def test_init_containers_run_in_order_and_a_sidecar_serves_before_the_next(node: Node) -> None:
    sidecar = container(
        "sidecar",
        append("sidecar")
        + "; import time; time.sleep(0.3); open(os.environ['NOTES'] + '.up', 'w'); time.sleep(600)",
        restartPolicy="Always",
        startupProbe={
            "exec": {"command": ["python", "-c", "import os; os.stat(os.environ['NOTES'] + '.up')"]},
            "periodSeconds": 1,
            "failureThreshold": 60,
            "timeoutSeconds": PATIENCE_SECONDS,
        },
        **NOTED,
    )
    started = append("init") + "; os.stat(os.environ['NOTES'] + '.up')"
    running = await node.run(
        pod(
            container("app", append("app"), **NOTED),
            init=[container("first", append("first"), **NOTED), sidecar, container("init", started, **NOTED)],
            restartPolicy="Never",
            **NOTES,
        )
    )
    status = await asyncio.wait_for(running.wait_finished(), PATIENCE_SECONDS)
    assert notes(running, "app") == "first sidecar init app"
    assert status["phase"] == "Succeeded"
    assert status["initContainerStatuses"][1]["state"]["terminated"]["exitCode"] == 143


async def test_a_hook_after_the_start_ends_before_the_next_container_begins(node: Node) -> None:
    waits = "import os, time; time.sleep(0.3); open(os.environ['NOTES'] + '.up', 'w')"
    hook = {"postStart": {"exec": {"command": ["python", "-c", waits]}}}
    sidecar = container("sidecar", SLEEP, restartPolicy="Always", lifecycle=hook, **NOTED)
    app = container("app", "import os; os.stat(os.environ['NOTES'] + '.up')", **NOTED)
    running = await node.run(pod(app, init=[sidecar], restartPolicy="Never", **NOTES))
    status = await asyncio.wait_for(running.wait_finished(), PATIENCE_SECONDS)
    assert status["phase"] == "Succeeded"


async def test_a_container_whose_hook_fails_is_started_again(node: Node) -> None:
    hook = {"postStart": {"exec": {"command": ["python", "-c", "exit(1)"]}}}
    running = await node.run(pod(container("app", SLEEP, lifecycle=hook)))
    await until("a restart", lambda: running.status["containerStatuses"][0]["restartCount"] >= 1)
    ended = running.status["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["reason"] == "PostStartHookError"
    assert "python: exit code 1" in ended["message"]


async def test_a_hook_without_a_command_is_refused(node: Node) -> None:
    with pytest.raises(UnsupportedPod, match=r"'app': lifecycle.postStart.exec has no command"):
        await node.run(pod(container("app", SLEEP, lifecycle={"postStart": {"exec": {}}})))


async def test_a_failing_init_container_fails_a_pod_that_is_never_restarted(node: Node) -> None:
    running = await node.run(
        pod(container("app", SLEEP), init=[container("init", "exit(3)")], restartPolicy="Never")
    )
    with pytest.raises(RunnerError, match="ended"):
        await running.wait_ready(PATIENCE_SECONDS)
    assert running.status["phase"] == "Failed"
    assert running.status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


async def test_a_container_is_restarted_as_the_policy_says(node: Node) -> None:
    code = append("run") + "; exit(1 if open(os.environ['NOTES']).read().count('run') < 3 else 0)"
    running = await node.run(pod(container("app", code, **NOTED), restartPolicy="OnFailure", **NOTES))
    status = await asyncio.wait_for(running.wait_finished(), PATIENCE_SECONDS)
    assert status["phase"] == "Succeeded"
    assert status["containerStatuses"][0]["restartCount"] == 2
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1


async def test_a_container_whose_liveness_fails_is_killed_and_started_again(node: Node) -> None:
    probe = {"exec": {"command": ["python", "-c", "exit(1)"]}, "periodSeconds": 0.1, "failureThreshold": 1}
    running = await node.run(pod(container("app", SLEEP, livenessProbe=probe)))
    await until("a restart", lambda: running.status["containerStatuses"][0]["restartCount"] >= 1)


async def test_two_pods_listen_on_the_same_port_at_addresses_of_their_own(node: Node) -> None:
    code = (
        "import os, socket; s = socket.create_server((os.environ['IP'], 18181))\n"
        "while True: s.accept()[0].close()"
    )
    server = container(
        "app",
        code,
        env=[{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        readinessProbe={"tcpSocket": {"port": 18181}, "periodSeconds": 0.1},
    )
    first, second = await node.run(pod(server)), await node.run(pod(server))
    await asyncio.gather(first.wait_ready(PATIENCE_SECONDS), second.wait_ready(PATIENCE_SECONDS))
    assert first.ip != second.ip


async def test_a_pod_waits_for_its_secret_and_starts_when_it_is_there(
    node: Node, resources: MemoryResources
) -> None:
    running = await node.run(
        pod(container("app", SLEEP), volumes=[{"name": "v", "secret": {"secretName": "s"}}])
    )
    await until("a complaint", lambda: "Secret n/s does not exist" in running.status.get("message", ""))
    resources.secrets["n", "s"] = {"k": b"v"}
    await running.wait_ready(PATIENCE_SECONDS)


async def test_a_volume_that_the_disk_has_no_room_for_waits_and_is_kept_up_to_date_afterwards(
    resources: MemoryResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 0

    def publish(directory: Path, content: Mapping[str, bytes]) -> None:
        nonlocal failures
        if is_full:
            failures += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        published(directory, content)

    published, is_full = volumes._publish, True
    monkeypatch.setattr(volumes, "_publish", publish)
    resources.secrets["n", "s"] = {"k": b"first"}
    mounted = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    with tempfile.TemporaryDirectory(prefix="vk-") as directory:
        node = Node(Path(directory), Surroundings(resources, {}, refresh_seconds=0.05))
        running = await node.run(
            pod(container("app", SLEEP, **mounted), volumes=[{"name": "v", "secret": {"secretName": "s"}}])
        )
        await until("a complaint", lambda: "No space left" in running.status.get("message", ""))
        is_full = False
        await running.wait_ready(PATIENCE_SECONDS)
        file = running.path_in("app", "/v/k")
        assert file.read_text() == "first"
        is_full, failures = True, 0
        await until("a failed refresh", lambda: failures)
        is_full = False
        resources.secrets["n", "s"] = {"k": b"second"}
        await until("the change", lambda: file.read_text() == "second")
        await node.stop(grace_seconds=2)


async def test_termination_is_asked_for_and_then_enforced(node: Node) -> None:
    polite, stubborn = (
        await node.run(pod(container("app", POLITE))),
        await node.run(pod(container("app", STUBBORN))),
    )
    await until("both have begun", lambda: bool(polite.log_of("app") and stubborn.log_of("app")))
    for running, grace_seconds, code in ((polite, PATIENCE_SECONDS, 7), (stubborn, 1, 137)):
        await node.stop_pod(running, grace_seconds)
        (status,) = running.status["containerStatuses"]
        assert status["state"]["terminated"]["exitCode"] == code


async def test_children_of_a_container_end_with_it(node: Node) -> None:
    code = (
        "import subprocess, sys, time; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "print(p.pid, flush=True); time.sleep(600)"
    )
    running = await node.run(pod(container("app", code)))
    await until("a child", lambda: bool(running.log_of("app").strip()))
    child = int(running.log_of("app"))
    await node.stop_pod(running, grace_seconds=1)
    await until("its end", lambda: not _is_alive(child))


DAEMON = (
    "import os, subprocess, sys, time\n"
    'child = \'import os, time; os.setsid(); open(os.environ["NOTES"], "w").write(str(os.getpid()));\'\n'
    "child += 'time.sleep(600)'\n"
    "subprocess.Popen([sys.executable, '-c', child])\n"
    "while not os.path.exists(os.environ['NOTES']) or not os.path.getsize(os.environ['NOTES']):\n"
    "    time.sleep(0.05)\n"
)


async def test_a_daemon_that_left_its_parents_session_ends_with_its_container(node: Node) -> None:
    running = await node.run(pod(container("app", DAEMON, **NOTED), restartPolicy="Never", **NOTES))
    status = await asyncio.wait_for(running.wait_finished(), PATIENCE_SECONDS)
    assert status["phase"] == "Succeeded"
    await until("the daemon's end", lambda: not _is_alive(int(notes(running, "app"))))


async def test_a_pod_that_is_stopped_at_any_moment_of_its_start_ends(node: Node) -> None:
    for steps in range(40):
        running = await node.run(pod(container("app", SLEEP), init=[container("first", "pass")]))
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.wait_for(node.stop_pod(running, grace_seconds=1), PATIENCE_SECONDS)


async def test_a_pod_that_broke_does_not_cost_the_others_their_grace(node: Node) -> None:
    polite = container("polite", POLITE)
    is_defective = False

    def changed(_: RunningPod) -> None:
        if is_defective:
            raise ZeroDivisionError  # stands for a defect of the runner's own

    broken, whole = await node.run(pod(polite), changed), await node.run(pod(polite))
    await asyncio.gather(broken.wait_ready(PATIENCE_SECONDS), whole.wait_ready(PATIENCE_SECONDS))
    await until("both have begun", lambda: bool(broken.log_of("polite") and whole.log_of("polite")))
    is_defective = True
    with pytest.raises(ZeroDivisionError):
        await node.stop(grace_seconds=PATIENCE_SECONDS)
    assert whole.status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7


async def test_a_container_that_ignores_the_failed_liveness_probe_is_killed_after_the_grace(
    node: Node,
) -> None:
    probe = {
        "exec": {"command": ["python", "-c", "exit(1)"]},
        "initialDelaySeconds": 1,
        "periodSeconds": 0.1,
        "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1,
    }
    running = await node.run(pod(container("app", STUBBORN, livenessProbe=probe)))
    await until("a restart", lambda: running.status["containerStatuses"][0]["restartCount"] >= 1)
    assert running.status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] in (137, 143)


GRPC_SERVER = """
import asyncio, os
from grpclib.health.service import Health
from grpclib.server import Server
async def main():
    server = Server([Health()])
    await server.start(os.environ["IP"], 18282)
    await server.wait_closed()
asyncio.run(main())
"""


async def test_a_grpc_probe_asks_the_health_service(node: Node) -> None:
    server = container(
        "app",
        GRPC_SERVER,
        env=[{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        readinessProbe={"grpc": {"port": 18282}, "periodSeconds": 0.1, "timeoutSeconds": PATIENCE_SECONDS},
    )
    running = await node.run(pod(server))
    assert not running.is_ready
    await running.wait_ready(PATIENCE_SECONDS)


async def test_a_probe_of_no_known_kind_is_refused(node: Node) -> None:
    with pytest.raises(UnsupportedPod, match="a probe has one of httpGet, tcpSocket, grpc, exec"):
        await node.run(pod(container("app", SLEEP, livenessProbe={"periodSeconds": 1})))


async def test_two_containers_share_a_directory_of_a_volume_by_sub_path(node: Node) -> None:
    mounts = [{"name": "notes", "mountPath": "/notes", "subPath": "a/b"}]
    first = container("first", append("first"), env=NOTED["env"], volumeMounts=mounts)
    second = container("second", append("second"), env=NOTED["env"], volumeMounts=mounts)
    running = await node.run(pod(second, init=[first], restartPolicy="Never", **NOTES))
    await asyncio.wait_for(running.wait_finished(), PATIENCE_SECONDS)
    assert notes(running, "second") == "first second"


async def test_a_sub_path_that_leaves_its_volume_is_refused(node: Node) -> None:
    mounts = [{"name": "notes", "mountPath": "/notes", "subPath": "../../x"}]
    with pytest.raises(UnsupportedPod, match="subPath"):
        await node.run(pod(container("app", SLEEP, volumeMounts=mounts), **NOTES))


def reason_of(running: RunningPod, container: int) -> str | None:
    """Why a container waits, if it does."""
    waiting = running.status["containerStatuses"][container]["state"].get("waiting", {})
    reason: str | None = waiting.get("reason")
    return reason


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    return False


async def test_a_claim_is_a_directory_that_pods_share(
    node: Node, resources: MemoryResources, tmp_path: Path
) -> None:
    volumes = [{"name": "notes", "persistentVolumeClaim": {"claimName": "c"}}]
    first = await node.run(
        pod(container("app", append("one"), **NOTED), volumes=volumes, restartPolicy="Never")
    )
    await until(
        "a complaint", lambda: "PersistentVolumeClaim n/c does not" in first.status.get("message", "")
    )
    resources.claims["n", "c"] = tmp_path
    await asyncio.wait_for(first.wait_finished(), PATIENCE_SECONDS)
    second = await node.run(
        pod(container("app", append("two"), **NOTED), volumes=volumes, restartPolicy="Never")
    )
    await asyncio.wait_for(second.wait_finished(), PATIENCE_SECONDS)
    assert (tmp_path / "file").read_text() == "one two "


async def test_a_volume_that_can_never_be_fails_the_pod_with_the_reason(node: Node) -> None:
    source = {"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"path": "x"}}]}}
    running = await node.run(pod(container("app", SLEEP), volumes=[source]))
    status = await asyncio.wait_for(running.wait_finished(), PATIENCE_SECONDS)
    assert status["phase"] == "Failed"
    assert "clusterTrustBundle" in status["message"]


async def test_an_image_runs_what_it_is_mapped_to_and_an_unknown_one_says_so(node: Node) -> None:
    known = {"name": "known", "image": "example/app:1.2@sha256:00"}
    unknown = {"name": "unknown", "image": "registry.example:5000/other:1"}
    running = await node.run(pod(known, unknown))
    await until(
        "one runs", lambda: bool(running.log_of("known")) and reason_of(running, 1) == "ErrImageNeverPull"
    )
    waiting = running.status["containerStatuses"][1]["state"]["waiting"]
    assert "--image registry.example:5000/other:1=COMMAND" in waiting["message"]


async def test_exec_runs_in_the_containers_surroundings(node: Node) -> None:
    running = await node.run(pod(container("app", SLEEP, **NOTED), **NOTES))
    await running.wait_ready(PATIENCE_SECONDS)
    code, output = await running.execute(
        "app", ["python", "-c", "import os; print(os.environ['NOTES']); exit(4)"]
    )
    assert code == 4
    assert Path(output) == running.path_in("app", "/notes/file")


def test_a_directory_too_deep_for_unix_sockets_is_refused() -> None:
    with pytest.raises(UnsupportedPod, match="too long a path"):
        Node(Path("/" + "x" * 80), Surroundings(MemoryResources(), {}))
