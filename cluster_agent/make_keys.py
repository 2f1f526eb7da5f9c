"""The program `cluster-agent-keys`: makes the keys that the replicas of a cluster agent share.

cluster-agent-keys --name-prefix acme:prod keys/
kubectl create secret generic cluster-agent-keys -n vanadium-system --from-file=keys/

With --next-root it makes one more root beside them, for the rotation of the identity root.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from blessings import InvalidName, Name, fingerprint
from cluster_agent.errors import DataDirectoryError
from cluster_agent.roots.keys import RootKeys
from cluster_agent.signing.key_files import make_claimable_room, make_signing_room
from cluster_agent.signing.room import ROOT_LIFETIME
from service.version import print_version_if_asked


def main() -> None:
    """Makes the missing files and keeps the others. Exits with 2 for a wrong argument, 1 for an unusable
    directory."""
    print_version_if_asked("cluster-agent-keys", sys.argv[1:])
    parser = argparse.ArgumentParser(
        prog="cluster-agent-keys", description="Makes the keys that the replicas of a cluster agent share."
    )
    parser.add_argument("--name-prefix", required=True, help="as for cluster-agent: acme:prod")
    parser.add_argument(
        "--claim",
        choices=("none", "required"),
        default="none",
        help="as for cluster-agent; required: makes no root, which stays with the administrator who claims",
    )
    parser.add_argument("--next-root", action="store_true", help="make one more root, for the next rotation")
    parser.add_argument("directory", type=Path, help="where root.pem, issuing.pem and bootstrap.pem go")
    arguments = parser.parse_args()
    try:
        prefix = Name.parse(arguments.name_prefix)
    except InvalidName as error:
        parser.error(f"--name-prefix: {error}")
    now = datetime.now(UTC)
    try:
        if arguments.claim == "required":
            room = make_claimable_room(arguments.directory, now=now)
            sys.stdout.write(f"issuing key {room.fingerprints['issuing']}, to be claimed\n")
        else:
            room = make_signing_room(arguments.directory, prefix.root, now=now)
            key = room.fingerprints["root"]
            if arguments.next_root:
                roots = RootKeys(arguments.directory, prefix.root, ROOT_LIFETIME, makes_keys=True)
                key = fingerprint(roots.make(now).principal.public_key)
            sys.stdout.write(f"root {prefix.root}, key {key}\n")
    except DataDirectoryError as error:
        sys.exit(f"cluster-agent-keys: {error}")


if __name__ == "__main__":
    main()
