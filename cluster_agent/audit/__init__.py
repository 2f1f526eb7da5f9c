"""What was done and refused, in records that form chains of hashes: a record that was changed, removed or
moved is found by `cluster-agent-audit verify`.

Every process of the cluster agent writes chains of its own, so that replicas on one database never wait for
each other, and one for each of the `kinds`, so that blessings push out nothing else. The head of a chain is
signed with the issuing key in the transaction that appends to it, so who can write to the database, and has
no key, cannot make another chain pass for it. Every process vouches for the heads of its chains by its
memory, and for those of others by what it sees, and heads go to the log, so that an end cut off, or an older
state put back, is found.
"""

from cluster_agent.audit.records import Head, Record

__all__ = ["Head", "Record"]
