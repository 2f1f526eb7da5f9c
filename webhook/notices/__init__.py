"""Events about Pods that get no identity, and why: written beside the admissions, never within one.

`subject` names the object of an Event: the Pod's owner; `ledger` counts what happened, and decides what is
due, from values; `writer` creates the Events.
"""
