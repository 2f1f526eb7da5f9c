"""`vkube revoke`, `reinstate` and `forget`: what ends early, and what may begin again."""

from __future__ import annotations

import argparse
import time
from typing import Any

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.get import delivery, find_replica, replicas
from vkube.commands.scope import namespace_of
from vkube.connection.cluster_agent import ClusterAgent, administering
from vkube.errors import UnreachableError, UsageError
from vkube.output.lines import note, result

_LISTS = "crl"
_LOOK_SECONDS = 2.0


def revoke(parser: argparse.ArgumentParser) -> Run:
    """End certificates early: of one replica, of a secret, or of an application, which also gets no more
    secrets until it is reinstated. What the cluster agent does not know is an error, and nothing is
    revoked."""
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--pod", help="a live replica, by the name of its Pod in the namespace")
    one.add_argument("--name", help="a live replica, by its blessing name")
    one.add_argument("--serial", help="a live replica, by the serial number of its certificate, in hex")
    one.add_argument("--pod-uid", metavar="UID", help="a replica, by the UID of its Pod")
    one.add_argument("--secret", metavar="ID", help="a secret, and what was issued under it")
    one.add_argument("--application", metavar="SERVICE-ACCOUNT", help="an application in the namespace")
    parser.add_argument(
        "--ahead", action="store_true", help="with --pod-uid or --application: also one that is not known yet"
    )
    parser.add_argument(
        "--wait", action="store_true", help="until every live replica has the revocation lists"
    )
    parser.add_argument(
        "--wait-timeout", type=shared.whole(1), default=300, metavar="SECONDS", help="of --wait (300)"
    )
    shared.namespace(parser)
    shared.cluster_agent(parser)
    return _revoke


def reinstate(parser: argparse.ArgumentParser) -> Run:
    """Let a revoked application have secrets again. What was revoked stays revoked; its Pods get new
    certificates."""
    parser.add_argument("application", metavar="service-account", help="service account in the namespace")
    shared.namespace(parser)
    shared.cluster_agent(parser)
    return _reinstate


def forget(parser: argparse.ArgumentParser) -> Run:
    """Stop issuing and renewing under a secret. The webhook makes a new one for the application."""
    parser.add_argument("secret", metavar="id", help="of the secret: vkube get secrets")
    parser.add_argument("--revoke", action="store_true", help="also revoke what was issued under it")
    shared.cluster_agent(parser)
    return _forget


def _revoke(options: argparse.Namespace) -> None:
    if options.ahead and not (options.pod_uid or options.application):
        raise UsageError("--ahead: expected --pod-uid or --application with it")
    with administering(options) as agent:
        what, body = _subject(agent, options)
        if options.ahead:
            body["ahead"] = True
        done = agent.call("POST", "/v1/revoke", body)
        result(
            f"revoked: {what}, {_certificates(done['certificates'])}; revocation lists {done['crlVersion']}"
        )
        if options.pod:
            note(f"the Pod runs on without an identity; a new one gets one: kubectl delete pod {options.pod}")
        if options.wait:
            _wait(agent, done["crlVersion"], options.wait_timeout)


def _subject(agent: ClusterAgent, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What is to be revoked, for people and for the cluster agent."""
    if options.pod:
        one = find_replica(agent, options.pod, namespace_of(options))
        return f"replica {one['name']}", {"podUid": one["podUid"]}
    if options.application:
        namespace = namespace_of(options)
        application = {"namespace": namespace, "serviceAccount": options.application}
        return f"application {namespace}/{options.application}", {"application": application}
    if options.pod_uid:
        return f"replica of the Pod {options.pod_uid}", {"podUid": options.pod_uid}
    if options.name:
        return f"replica {options.name}", {"name": options.name}
    if options.serial:
        return f"replica with the certificate {options.serial}", {"serial": options.serial}
    return f"secret {options.secret}", {"secret": options.secret}


def _wait(agent: ClusterAgent, version: int, seconds: int) -> None:
    """Until no live replica with a pod agent lacks the lists; the others never tell. Asks the replicas' own
    statements: the shares that the agent counts every half minute may be of a previous version."""
    ends_at = time.monotonic() + seconds
    said = ""
    while True:
        live = replicas(agent, None)
        polling = [one for one in live if delivery(one) != "volume"]
        lacks = next((one for one in polling if one["acknowledged"].get(_LISTS, 0) < version), None)
        if lacks is None:
            result(
                "every live replica has them" if live == polling else _with_volumes(len(live), len(polling))
            )
            return
        progress = f"{lacks['name']} does not have the lists yet"
        if progress != said:
            note(progress)
            said = progress
        if time.monotonic() > ends_at:
            raise UnreachableError(
                f"after {seconds} s {progress}. What is revoked is on the lists; others get them when they "
                "ask next, or when they renew"
            )
        time.sleep(_LOOK_SECONDS)


def _with_volumes(live: int, polling: int) -> str:
    return (
        f"every live replica with a pod agent has them ({polling} of {live}); the others, with volumes, have "
        "them when their programs fetch them"
    )


def _reinstate(options: argparse.Namespace) -> None:
    namespace = namespace_of(options)
    with administering(options) as agent:
        body = {"namespace": namespace, "serviceAccount": options.application}
        was = agent.call("POST", "/v1/reinstate", body)["wasRevoked"]
    result(f"{namespace}/{options.application}: {'reinstated' if was else 'was not revoked'}")


def _forget(options: argparse.Namespace) -> None:
    with administering(options) as agent:
        agent.call("POST", "/v1/forget-secret", {"id": options.secret, "revoke": options.revoke})
    revoked = ", and what was issued under it is revoked" if options.revoke else ""
    result(f"forgotten: secret {options.secret}{revoked}")


def _certificates(number: int) -> str:
    return f"{number} valid certificate{'' if number == 1 else 's'}"
