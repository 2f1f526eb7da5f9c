"""The healer: evicts Pods that should have an identity and have none, so that their owners make them again.

`diagnosis` judges one Pod; `plan` chooses, from the Pods of a namespace and what its `memory` has of earlier
evictions, which ones may be evicted now; `lease` elects the one replica that does it; `healer` lists, evicts
and tells. Off by default: its rights are in deploy/components/healer-dry-run and healer.
"""
