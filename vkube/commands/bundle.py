"""`vkube bundle`: the roots, for verifiers outside of the cluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from blessings import BlessingsError, Name, Pattern, Roots, TrustBundle
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.principal import opened
from vkube.connection.cluster_agent import as_nobody
from vkube.errors import CredentialsError
from vkube.output.documents import Item
from vkube.output.lines import result

FORMATS = ("pem", "spiffe", "json")


def export(parser: argparse.ArgumentParser) -> Run:
    """Print the identity roots, with which anybody can verify replicas: as PEM for TLS programs, as a SPIFFE
    bundle (a JWK set) for federation, or as JSON with the pattern of names of each root."""
    parser.add_argument("--format", choices=FORMATS, default="pem", help="pem by default")
    shared.cluster_agent(parser)
    return _export


def import_bundle(parser: argparse.ArgumentParser) -> Run:
    """Let a principal recognise the roots of another trust domain, from its SPIFFE bundle: for names of that
    domain only."""
    shared.principal(parser, "the principal that recognises them")
    parser.add_argument("bundle", type=Path, help="a file with a SPIFFE bundle")
    parser.add_argument(
        "--trust-domain", required=True, help="whose bundle it is: the file does not state it"
    )
    return _import


def formatted(roots: Sequence[Item], form: str) -> str:
    """The roots of `GET /v1/roots` in one of FORMATS. Raises CredentialsError where there are none yet."""
    if not roots:
        raise CredentialsError("the cluster agent has no root yet: claim it (vkube claim-cluster-agent)")
    if form == "json":
        return json.dumps({"roots": list(roots)}, indent=2) + "\n"
    if form == "pem":
        return "".join(one["certificate"] for one in roots)
    parsed = Roots.from_json(roots)
    domain = Pattern.parse(roots[0]["pattern"]).name
    if domain is None:
        raise CredentialsError("the cluster agent's root is for every name, which no bundle can state")
    return TrustBundle.of(parsed, domain).to_json() + "\n"


def _export(options: argparse.Namespace) -> None:
    with as_nobody(options) as agent:
        found = agent.call("GET", "/v1/roots")["roots"]
    sys.stdout.write(formatted(found, options.format))


def _import(options: argparse.Namespace) -> None:
    held = opened(options)
    try:
        domain = Name.parse(options.trust_domain)
        bundle = TrustBundle.parse(options.bundle.read_bytes(), domain)
        known = {(root.certificate, root.pattern) for root in held.roots}
        new = [root for root in bundle.roots if (root.certificate, root.pattern) not in known]
        held.set_roots(held.roots + Roots(tuple(new)))
    except (OSError, BlessingsError) as error:
        raise CredentialsError(f"{options.bundle}: {error}") from error
    result(f"{options.directory} recognises {len(new)} more roots of {domain}")
