"""Keeps one Secret in each labelled namespace, with a bootstrap credential for each service account.

`plan` decides from values; `reconcile` carries a plan out through the cluster agent and a SecretStore;
`watch` says which namespaces need a look.
"""
