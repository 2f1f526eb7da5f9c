"""Every error of the command line and local mode, as a tree.

VkubeError
├── ManifestError        a manifest cannot be read, or contains something that local mode does not run
├── AdmissionRefused     the webhook refused a Pod
├── CredentialsError     an administrator's credentials cannot be used as they are
├── AdministrationError  a cluster agent refused, or cannot be reached
└── LocalModeError       a part of local mode did not start, or ended
"""

from __future__ import annotations


class VkubeError(Exception):
    """Root of every error that vkube raises on purpose; its text is for the user."""


class ManifestError(VkubeError):
    """A manifest cannot be read, or contains something that local mode does not run."""


class AdmissionRefused(VkubeError):
    """The webhook refused a Pod."""


class CredentialsError(VkubeError):
    """An administrator's credentials cannot be used as they are."""


class AdministrationError(VkubeError):
    """A cluster agent refused a call, or cannot be reached."""


class LocalModeError(VkubeError):
    """A part of local mode did not start, or ended before it should."""
