"""Generated from workload.proto; `make protocol` does it anew."""
