"""The namespace that a command is about."""

from __future__ import annotations

import argparse

from vkube.connection.kubeconfig import context_namespace


def namespace_of(options: argparse.Namespace) -> str | None:
    """That of -n, else that of the context; None with -A. Raises ConfigurationError."""
    if getattr(options, "all_namespaces", False):
        return None
    return options.namespace or context_namespace(options)
