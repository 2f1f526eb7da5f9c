"""What the runner cannot do.

RunnerError
├── UnsupportedPod     the Pod asks for something that local processes cannot be given
└── NotMountable       a volume's content is not there yet; it is tried again
"""

from __future__ import annotations

from vkube.errors import VkubeError


class RunnerError(VkubeError):
    """Root of the runner's errors."""


class UnsupportedPod(RunnerError):
    """The Pod asks for something that this runner does not do; the message says what and where."""


class NotMountable(RunnerError):
    """A Secret, ConfigMap or token that a volume or variable needs cannot be had now."""
