"""`vkube bundle`: the roots, for verifiers outside of the cluster, and those of other trust domains, for
replicas."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blessings import BlessingsError, Name, Pattern, Roots, TrustBundle
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.principal import opened
from vkube.connection.cluster_agent import administering, as_nobody
from vkube.errors import CredentialsError
from vkube.output.documents import Item, document
from vkube.output.lines import result
from vkube.output.table import table

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
    _of_trust_domain(parser)
    return _import


def add(parser: argparse.ArgumentParser) -> Run:
    """Add the SPIFFE bundle of another trust domain at the cluster agent, or replace it: replicas get it, to
    verify names of that domain only. It changes nothing for who is recognised here."""
    parser.add_argument("bundle", type=Path, help="a file with a SPIFFE bundle")
    _of_trust_domain(parser)
    shared.cluster_agent(parser)
    return _add


def remove(parser: argparse.ArgumentParser) -> Run:
    """Remove the bundle of another trust domain from the cluster agent."""
    _of_trust_domain(parser)
    shared.cluster_agent(parser)
    return _remove


def list_bundles(parser: argparse.ArgumentParser) -> Run:
    """List the bundles of other trust domains that replicas get."""
    shared.output(parser)
    shared.cluster_agent(parser)
    return _list


def _of_trust_domain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust-domain", required=True, help="whose bundle it is: the file does not state it"
    )


def formatted(roots: Sequence[Item], form: str, jwt_keys: Sequence[Item] = ()) -> str:
    """The roots of `GET /v1/roots` in one of FORMATS, of which a SPIFFE bundle also has the JWT keys. Raises
    CredentialsError where there are none yet."""
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
    return replace(TrustBundle.of(parsed, domain), jwt_keys=tuple(jwt_keys)).to_json() + "\n"


def _export(options: argparse.Namespace) -> None:
    with as_nobody(options) as agent:
        found = agent.call("GET", "/v1/roots")["roots"]
        keys = agent.call("GET", "/v1/jwks")["keys"] if options.format == "spiffe" else ()
    sys.stdout.write(formatted(found, options.format, keys))


def _add(options: argparse.Namespace) -> None:
    try:
        domain = Name.parse(options.trust_domain)
        bundle = TrustBundle.parse(options.bundle.read_bytes(), domain)
    except (OSError, BlessingsError) as error:
        raise CredentialsError(f"{options.bundle}: {error}") from error
    body = {"trustDomain": str(domain), "bundle": bundle.to_value()}
    with administering(options) as agent:
        agent.call("POST", "/v1/federate-bundle", body)
    count = len(bundle.certificates)
    result(f"replicas get {count} roots and {len(bundle.jwt_keys)} JWT keys of {domain}")


def _remove(options: argparse.Namespace) -> None:
    with administering(options) as agent:
        agent.call("POST", "/v1/unfederate-bundle", {"trustDomain": options.trust_domain})
    result(f"replicas no longer get the bundle of {options.trust_domain}")


def _list(options: argparse.Namespace) -> None:
    with as_nobody(options) as agent:
        answer = agent.call("GET", "/v1/federated-bundles")
    text = document(answer, options.output)
    rows = [
        (domain, *(sum(key["use"] == use for key in one["keys"]) for use in ("x509-svid", "jwt-svid")))
        for domain, one in answer["bundles"].items()
    ]
    shown = table(("TRUST DOMAIN", "ROOTS", "JWT KEYS"), [tuple(map(str, row)) for row in rows]) + "\n"
    sys.stdout.write(shown if text is None else text)


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
