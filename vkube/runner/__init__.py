"""Runs a Pod's containers as local processes, and does as much of a kubelet's work as it can.

    node = Node(directory, Surroundings(resources, images={"vanadium/pod-agent": ["pod-agent"]}))
    pod = await node.run(manifest)
    await pod.wait_ready(30)

It does: init containers and native sidecars in order, a command after a container's start (`postStart`),
startup, liveness and readiness probes, restarts with back-off, termination with grace, variables with their
references, Secret, ConfigMap, downward API, emptyDir and projected token volumes that are kept up to date,
an IP address for each Pod, and a Pod's status.

It does not isolate anything. Processes run as the user who runs the runner, with the machine's file system,
network and process table; security contexts, resources and read-only mounts are not enforced. There are no
images: `python` is the interpreter that runs the runner, any other program must be on PATH. A mount path is
not a real path for the process: it is replaced by a directory wherever it appears in a variable, a command or
an argument, and nowhere else; local mode treats names of Services in the same way. Volumes of other kinds,
ephemeral containers, other lifecycle hooks and host ports are refused or ignored; the errors state which.
"""

from vkube.runner.container import BackOff
from vkube.runner.errors import NotMountable, RunnerError, UnsupportedPod
from vkube.runner.node import Node
from vkube.runner.pod import RunningPod, Surroundings
from vkube.runner.resources import Resources

__all__ = [
    "BackOff",
    "Node",
    "NotMountable",
    "Resources",
    "RunnerError",
    "RunningPod",
    "Surroundings",
    "UnsupportedPod",
]
