"""Every error of the runner, as a tree.

RunnerError
├── UnsupportedPod     the Pod asks for something that local processes cannot have
└── NotMountable       a volume's content does not exist yet; the runner tries again
"""

from __future__ import annotations

from vkube.errors import VkubeError


class RunnerError(VkubeError):
    """Root of the runner's errors."""


class UnsupportedPod(RunnerError):
    """The Pod asks for something that this runner does not do; the message states what and where."""


class NotMountable(RunnerError):
    """A Secret, ConfigMap or token that a volume or variable needs is not available now."""
