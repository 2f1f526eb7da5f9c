"""`vkube run` as a user runs it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.checkout import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
VKUBE = [sys.executable, "-m", "vkube"]
# For a whole run, which starts many programs, on a machine that does ten other things.
SECONDS = 600


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kills the process when it has not ended in time: its output is read to the end."""
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def test_the_sample_application_runs_by_the_readmes_words_until_ctrl_c() -> None:
    (command,) = [line for line in README.splitlines() if "vkube run -f examples/fortune" in line]
    process = subprocess.Popen(
        [*VKUBE, *shlex.split(command)[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=CHECKOUT,
        # What a container writes is in the pipe at once, also where Python holds it back by default.
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    assert process.stdout is not None
    output, is_asked_to_end = "", False
    serving, ready = set[str](), set[str]()
    with ending(process):
        for line in process.stdout:
            output += line
            pod = line.split()[0]
            if "serves at" in line:
                serving.add(pod)
            if line.endswith(": Running, 1/1 ready\n"):  # again, where a probe got no answer meanwhile
                ready.add(pod)
            if len(serving) == len(ready) == 3 and not is_asked_to_end:
                process.send_signal(signal.SIGINT)
                is_asked_to_end = True
    process.stdout.close()
    assert process.wait() == 0, output
    assert len(serving) == 3, output
    assert "local:dev:shop:fortune:fortune-" in output
    assert "Service shop/fortune at 127." in output
    assert "Traceback" not in output, "of a readiness probe, which opens a connection and ends it"


EVERY_KIND = """
apiVersion: v1
kind: List
items:
  - kind: Namespace
    metadata:
      name: shop
      labels: {vanadium.io/inject: enabled}
      annotations: {vanadium.io/containers: app, vanadium.io/ttyl: 1h}
  - {kind: Secret, metadata: {name: s, namespace: shop}, stringData: {k: word}}
  - {kind: PodDisruptionBudget, metadata: {name: left-out, namespace: shop}}
---
kind: Job
metadata: {name: indexed, namespace: shop}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: app
          command: [sh, -c, 'echo index $JOB_COMPLETION_INDEX of $V23_AGENT_PATH']
        - name: other
          command: [sh, -c, 'echo agent at ${V23_AGENT_PATH:-none}']
---
kind: Job
metadata: {name: with-files, namespace: shop}
spec:
  template:
    metadata: {annotations: {vanadium.io/files: app}}
    spec:
      restartPolicy: Never
      containers:
        - name: app
          command: [sh, -c, 'echo $(grep -c PRIVATE /run/vanadium-files/tls.pem) lines']
---
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, command: [echo, at night]}]}}}
---
kind: Job
metadata: {name: broken}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: app, command: [sh, -c, exit 7]}]}}
---
kind: Pod
metadata: {generateName: plain-}
spec:
  restartPolicy: Never
  containers:
    - {name: app, image: "example/app:1.2"}
---
kind: Pod
metadata: {name: windows, namespace: shop}
spec:
  restartPolicy: Never
  nodeSelector: {kubernetes.io/os: windows}
  containers: [{name: app, command: [echo, hello]}]
---
kind: Pod
metadata: {name: host}
spec: {containers: [{name: app, command: [echo]}], volumes: [{name: v, hostPath: {path: /}}]}
"""


def test_jobs_of_every_form_run_to_their_end_and_the_exit_code_is_the_failed_ones(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*VKUBE, "run", "-f", "-", "--image", "example/app:1.2=echo by image"],
        input=EVERY_KIND,
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
        timeout=SECONDS,
        # The settings of an installation of the user's own: they are none of local mode's.
        env={**os.environ, "VANADIUM_WEBHOOK_PORT": "no port", "VANADIUM_CLUSTER_AGENT_STORE": "no store"},
    )
    lines, notes = ended.stdout.splitlines(), ended.stderr
    assert ended.returncode == 7, notes
    for index in range(2):
        assert any(
            line.startswith(f"indexed-{index}-") and f"app index {index} of /" in line for line in lines
        ), ended
    assert sum(line.endswith("other agent at none") for line in lines) == 2, (
        "as the namespace's annotation states"
    )
    assert any(line.startswith("with-files-") and line.endswith("app 2 lines") for line in lines), ended
    assert any(line.endswith("app at night") for line in lines)
    assert any(line.startswith("plain-") and line.endswith("app by image") for line in lines)
    for note in (
        "left out: PodDisruptionBudget shop/left-out",
        "Namespace shop: the namespace's annotation vanadium.io/ttyl has no effect: no such",
        "CronJob default/nightly is started once, now, as Job nightly-",
        "Job shop/indexed: Complete",
        "Job default/broken: Failed",
        "Failed; app: exit code 7",
        "left as it is: its namespace is not labelled vanadium.io/inject=enabled; add a Namespace default",
        "shop/windows at 127.",
        "left as it is: the Pod is for Windows",
        "warning: shop/windows: no identity: the Pod is for Windows",
        "Pod default/host is not run: volume 'v' is a hostPath",
    ):
        assert note in notes


SERVED = """
kind: Pod
metadata: {name: server, labels: {app: web}}
spec:
  containers:
    - name: app
      command: [python, -m, http.server, "8080", --bind, $(IP)]
      env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 8000, targetPort: 8080}]}
---
kind: Job
metadata: {name: call}
spec:
  backoffLimit: 60
  template:
    spec:
      restartPolicy: OnFailure
      containers:
        - name: app
          command: [python, -c, "import sys, urllib.request as r; [r.urlopen(u) for u in sys.argv[1:]]"]
          args: ["http://web:8000", "http://web.default.svc:8000/", "http://$(WEB_SERVICE_HOST):8000"]
"""


def test_a_program_finds_another_by_its_service(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(SERVED)
    process, notes = noting("-f", str(tmp_path))
    seen: list[str] = []
    with ending(process):
        for line in notes:
            seen.append(line)
            if "Job default/call: Complete" in line:
                process.send_signal(signal.SIGINT)
    notes.close()
    assert process.wait() == 0, seen
    assert "Job default/call: Complete" in "".join(seen)


def noting(*flags: str) -> tuple[subprocess.Popen[str], IO[str]]:
    """A running `vkube run`, and its notes as they come."""
    process = subprocess.Popen(
        [*VKUBE, "run", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT
    )
    assert process.stderr is not None
    return process, process.stderr


def test_what_a_container_waits_for_is_told_while_it_waits_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "kind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers:\n"
        "        - {name: imageless}\n"
        "        - {name: unknown, command: [no-such-program]}\n"
        "        - {name: secretless, command: [echo], envFrom: [{secretRef: {name: gone}}]}\n"
        "---\nkind: Pod\nmetadata: {name: claimless}\nspec: {containers: [{name: app, command: [echo]}], "
        "volumes: [{name: v, persistentVolumeClaim: {claimName: gone}}]}\n"
    )
    wanted = {
        "imageless: ErrImageNeverPull: container 'imageless' has no command",
        "unknown: CrashLoopBackOff: starting again in 1 s, there is no program 'no-such-program' on this",
        "secretless: CreateContainerConfigError: secretRef default/gone does not exist",
        "default/claimless: Pending, 0/1 ready; FailedMount: PersistentVolumeClaim default/gone does not",
    }
    process, notes = noting("-f", str(tmp_path))
    seen = []
    with ending(process):
        for line in notes:
            seen.append(line)
            wanted -= {one for one in wanted if one in line}
            if not wanted:
                process.send_signal(signal.SIGINT)
                break
        rest = notes.read()
    notes.close()
    assert process.wait() == 0, (wanted, seen, rest)
    assert not wanted, seen


def test_ctrl_c_while_the_services_start_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("kind: Ingress\nmetadata: {name: first}\n---\n" + EVERY_KIND)
    process, notes = noting("-f", str(tmp_path))
    with ending(process):
        for line in notes:
            if "left out: Ingress" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = notes.read()
    notes.close()
    assert process.wait() == 0, rest
    assert "Traceback" not in rest


def test_a_manifest_that_cannot_be_read_ends_it_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("kind: DaemonSet\nmetadata: {name: x}\n")
    ended = subprocess.run(
        [*VKUBE, "run", "-f", str(tmp_path / "m.yaml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert ended.returncode == 1
    assert "m.yaml, document 1 (DaemonSet x): spec: field required" in ended.stderr


def test_a_pod_that_the_webhook_refuses_is_told_why(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "kind: Namespace\nmetadata: {name: shop, labels: {vanadium.io/inject: enabled}}\n"
        "---\n"
        "kind: Pod\nmetadata: {name: clash, namespace: shop}\n"
        "spec: {containers: [{name: vanadium-pod-agent, image: mine}]}\n"
    )
    ended = subprocess.run(
        [*VKUBE, "run", "-f", str(tmp_path / "m.yaml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert ended.returncode == 1
    assert "pod clash is refused" in ended.stderr
