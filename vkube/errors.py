"""Every error of the command line and local mode, as a tree.

VkubeError
├── UsageError           the command line cannot be understood; nothing was done
├── ConfigurationError   vkube.cfg cannot be used
├── ClusterError         the API server refused a call
│   ├── ForbiddenError   you may not do this in the cluster
│   ├── NotFoundError    what is named does not exist
│   ├── ConflictError    it exists already, or was changed by another client meanwhile
│   └── BusyError        the API server could not do it in time, or not now
├── UnreachableError     the API server or the cluster agent did not answer
├── ManifestError        a manifest cannot be read, or contains something that local mode does not run
│   └── MalformedManifest   it is neither JSON nor YAML
├── AdmissionRefused     the webhook refused a Pod
├── CredentialsError     an administrator's credentials cannot be used as they are
├── AdministrationError  a cluster agent refused
└── LocalModeError       a part of local mode did not start, or ended
"""

from __future__ import annotations

from vkube.command_line.exit_codes import ExitCode


class VkubeError(Exception):
    """Root of every error that vkube raises on purpose; its text is for the user."""

    exit_code = ExitCode.FAILED


class UsageError(VkubeError):
    """The command line cannot be understood; nothing was done."""

    exit_code = ExitCode.WRONG_USAGE


class ConfigurationError(VkubeError):
    """vkube.cfg cannot be used; nothing was done."""

    exit_code = ExitCode.WRONG_USAGE


class ClusterError(VkubeError):
    """The API server refused a call."""


class ForbiddenError(ClusterError):
    """The user may not do this in the cluster."""


class NotFoundError(ClusterError):
    """What is named does not exist."""


class ConflictError(ClusterError):
    """It exists already, or another client changed it meanwhile."""


class BusyError(ClusterError):
    """The API server could not do it in time, or not now; it may do the same call later, after as many
    seconds as it asks for."""

    after: float = 0


class UnreachableError(VkubeError):
    """The API server or the cluster agent did not answer."""

    exit_code = ExitCode.UNREACHABLE


class ManifestError(VkubeError):
    """A manifest cannot be read, or contains something that local mode does not run."""


class MalformedManifest(ManifestError):
    """It is neither JSON nor YAML. `place` names file, line and column, and nothing of the content."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"cannot read {place}: {why}")
        self.place = place


class AdmissionRefused(VkubeError):
    """The webhook refused a Pod."""


class CredentialsError(VkubeError):
    """An administrator's credentials cannot be used as they are."""


class AdministrationError(VkubeError):
    """A cluster agent refused a call."""


class LocalModeError(VkubeError):
    """A part of local mode did not start, or ended before it should."""


def cause(error: BaseException) -> str:
    """The innermost cause of a library's error, in one line: urllib3 wraps it in errors of its own."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return cause(reason)
    text = " ".join(str(reason or error).split()) or type(error).__name__
    return text.rsplit(": ", 1)[-1] if "object at 0x" in text else text
