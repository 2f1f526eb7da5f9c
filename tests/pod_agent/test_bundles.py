"""Which roots go into the Workload API's bundles. In a process without the `spiffe` package, whose generated
messages have the same names as ours."""

from __future__ import annotations

import subprocess
import sys

CODE = """
from blessings import Pattern, Root, Roots
from pod_agent.identity import Identity
from pod_agent.workload.server import bundles
from tests.chains import NOW, realm

one, whole, part, exact = realm(), realm("whole"), realm("part"), realm("exact")
entries = [("acme", one), ("whole", whole), ("part:web", part), ("exact:$", exact), ("...", realm("anybody"))]
roots = Roots(tuple(Root(other.root.certificate, Pattern.parse(text)) for text, other in entries))
identity = Identity(1, one.replica, one.blessing, one.blessing.presented, roots, NOW)
print(*sorted(domain for domain, bundle in bundles(identity).items() if bundle))
"""


def test_attack_a_root_trusted_for_a_part_of_a_domain_is_not_handed_out_for_the_whole() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["spiffe://acme", "spiffe://whole"]
