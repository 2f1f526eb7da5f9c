"""`vkube check`: is the cluster fit, and is the installation well?"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

from service.errors import ServiceError
from vkube.checks import after, agent, before, namespaces
from vkube.checks.check import Found, Result, Verdict, results
from vkube.checks.facts import Facts, read_facts
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import administering
from vkube.errors import AdministrationError, VkubeError
from vkube.output.documents import document
from vkube.output.lines import note
from vkube.output.table import table

_LOOK_SECONDS = 3.0


def check(parser: argparse.ArgumentParser) -> Run:
    """Check whether a cluster is fit for the product, and, where it is installed, whether it is well: each
    check that fails states what to do. Ends with 4 when one fails; warnings do not."""
    parser.add_argument("--before", action="store_true", help="only what an installation needs")
    parser.add_argument("--all", action="store_true", help="print the checks that are right, too")
    parser.add_argument("--wait", action="store_true", help="check again until none fails")
    parser.add_argument(
        "--wait-timeout", type=shared.whole(1), default=300, metavar="SECONDS", help="of --wait (300)"
    )
    shared.output(parser)
    shared.cluster_agent(parser)
    return _check


def _check(options: argparse.Namespace) -> int:
    ends_at = time.monotonic() + options.wait_timeout
    said = ""
    while True:
        made = _results(options)
        failed = [one for one in made if one.verdict is Verdict.FAIL]
        if not failed or not options.wait or time.monotonic() > ends_at:
            break
        if (waits := f"waiting: {failed[0].name}: {failed[0].what}") != said:
            note(waits)
            said = waits
        time.sleep(_LOOK_SECONDS)
    text = document(
        {
            "items": [
                {"name": one.name, "verdict": one.verdict.value, "what": one.what, "todo": one.todo}
                for one in made
            ]
        },
        options.output,
    )
    sys.stdout.write(shown(made, every=options.all) if text is None else text)
    return ExitCode.FINDINGS if failed else ExitCode.DONE


def shown(made: list[Result], *, every: bool) -> str:
    """The results as a table, those that are right only with `every`; and their numbers."""
    rows = [
        (found.verdict.value, one.name, found.what, found.todo)
        for one in made
        if every or one.verdict in (Verdict.FAIL, Verdict.WARN)
        for found in one.problems or [Found(verdict=one.verdict)]
    ]
    counted = {one: sum(result.verdict is one for result in made) for one in Verdict}
    numbers = ", ".join(f"{number} {verdict.value}" for verdict, number in counted.items() if number)
    lines = table(("RESULT", "CHECK", "FOUND", "WHAT TO DO"), rows) + "\n\n" if rows else ""
    return f"{lines}{len(made)} checks: {numbers}\n"


def _results(options: argparse.Namespace) -> list[Result]:
    with Cluster.of(options) as cluster:
        facts = read_facts(cluster, datetime.now(UTC))
    made = results(before.CHECKS, facts)
    if options.before:
        return made
    if not facts.installed:
        return [*made, *results(after.CHECKS[:1], facts)]
    _ask(facts, options)
    checks = (*after.CHECKS, *namespaces.CHECKS, *agent.CHECKS)
    return [*made, *results(checks, facts)]


def _ask(facts: Facts, options: argparse.Namespace) -> None:
    """Adds what the cluster agent says."""
    try:
        with administering(options) as reached:
            try:
                roots = reached.call("GET", "/v1/identity-roots")["roots"]
            except AdministrationError:
                roots = []  # an agent that did not make its root has no such route
            facts.agent = {
                "health": reached.call("GET", "/healthz"),
                "roots": roots,
                "publications": reached.call("GET", "/v1/acknowledgements")["kinds"],
                "applications": list(reached.pages("/v1/applications", "applications")),
            }
    except (VkubeError, ServiceError) as error:
        facts.agent_problem = str(error)
