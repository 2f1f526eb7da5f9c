"""The SPIFFE Workload API on workload.sock.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md
"""
