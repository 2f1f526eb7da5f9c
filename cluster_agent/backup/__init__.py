"""A backup of a cluster agent: its keys and its store, as a tar archive, from and into both kinds of store.

| member | what it is |
|---|---|
| `backup.json` | version of this format, revision of the store's schema, time |
| `keys/*.pem` | the keys; none where a Secret has them that was not mounted |
| `rows/*.jsonl` | lines of `{"table", "columns", "rows"}`, in the order in which they can be inserted |
| `complete` | the last one; an archive without it was cut off |

`archive` writes one while the agent runs. `restoration` replaces a store by one while no agent runs, and
keeps what was revoked and forgotten since. Both run in the agent's container, with its environment.
"""
