"""Envoy's Secret Discovery Service, version 3, on workload.sock, as SPIRE's agent serves it.

https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret

| name | secret |
|---|---|
| the replica's SPIFFE ID, `default` | its chain and private key |
| a trust domain (`spiffe://acme`) | the roots of that domain, for Envoy's SPIFFE validator |
| `ROOTCA` | those of the own trust domain |
| `ALL` | those of every trust domain, each for its own names |

Field numbers are those of Envoy's protobuf files.
"""
