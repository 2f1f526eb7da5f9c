"""`vkube register`, `unregister` and `applications`: the names of applications."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from blessings import InvalidName, Name
from vkube import naming
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster_agent import administering
from vkube.errors import CredentialsError
from vkube.output.lines import note, result

_MADE_ANEW = "the webhook makes the credential for another name within five minutes; new Pods wait for it"


def register(parser: argparse.ArgumentParser) -> Run:
    """Name an application; certificates with its previous name are no longer renewed."""
    _application(parser)
    parser.add_argument("name", help="acme:fortuned; its replicas are acme:fortuned:POD")
    parser.add_argument("--ttl", type=shared.whole(1), metavar="SECONDS", help="life of replica certificates")
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        "--dns-name",
        action="append",
        metavar="NAME",
        help="a DNS name in replica certificates, for clients that verify by host name; repeat it for more; "
        "those that are not given again end",
    )
    names.add_argument("--no-dns-names", action="store_true", help="no DNS names in certificates")
    parser.add_argument(
        "--share-dns-names",
        action="store_true",
        help="also DNS names that another application has, for two that are behind one name",
    )
    parser.add_argument(
        "--days",
        type=shared.days(1),
        default=365,
        help="life of a grant, where the name needs one (365)",
    )
    shared.cluster_agent(parser)
    return _register


def unregister(parser: argparse.ArgumentParser) -> Run:
    """Let an application's name follow from its namespace and service account again."""
    _application(parser)
    shared.cluster_agent(parser)
    return _unregister


def applications(parser: argparse.ArgumentParser) -> Run:
    """List the registered applications, one a line."""
    shared.cluster_agent(parser)
    return _applications


def _application(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("namespace", help="the application's namespace")
    parser.add_argument("service_account", metavar="service-account", help="its service account")


def _register(options: argparse.Namespace) -> None:
    try:
        parsed = Name.parse(options.name)
    except InvalidName as error:
        raise CredentialsError(f"NAME: {error}") from error
    now = datetime.now(UTC)
    wanted = naming.Wanted(
        options.namespace,
        options.service_account,
        parsed,
        options.ttl,
        timedelta(days=options.days),
        [] if options.no_dns_names else options.dns_name,
        options.share_dns_names,
    )
    with administering(options) as agent:
        grant = naming.register(agent, wanted, lambda: agent.root_of(parsed), now)
    result(f"registered: {options.namespace}/{options.service_account} is {parsed}, by a grant of {grant}")
    note(_MADE_ANEW)
    if wanted.dns_names:
        result(f"its certificates have {', '.join(wanted.dns_names)} from their next renewal")


def _unregister(options: argparse.Namespace) -> None:
    with administering(options) as agent:
        body = {"namespace": options.namespace, "serviceAccount": options.service_account}
        known = agent.call("POST", "/v1/unregister-application", body)["known"]
    done = "unregistered" if known else "was not registered"
    result(f"{options.namespace}/{options.service_account}: {done}")
    if known:
        note(_MADE_ANEW)


def _applications(options: argparse.Namespace) -> None:
    with administering(options) as agent:
        for one in naming.applications(agent):
            line = f"{one['namespace']}/{one['serviceAccount']}  {one['name']}"
            line += f"  ttl {one['ttlSeconds']} s" if one["ttlSeconds"] else ""
            # An older version of the cluster agent sends none.
            line += f"  DNS {','.join(one['dnsNames'])}" if one.get("dnsNames") else ""
            line += f"  granted until {one['grantedUntil']}" if one["grantedUntil"] else ""
            line += f"  REFUSED NOW: {one['objection']}" if one.get("objection") else ""
            result(line)
