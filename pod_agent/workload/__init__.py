"""The SPIFFE Workload API on workload.sock.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md

Each profile is a module with a table of its methods. Field numbers are those of the standard's
workload.proto.
"""
