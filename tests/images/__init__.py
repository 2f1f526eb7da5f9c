"""The images, built here and kept as OCI archives, for a node that has no registry to pull from.

    python -m tests.images build   # build what is missing; print each reference and its archive
    python -m tests.images sizes   # and how large they are
    python -m tests.images reproduce   # and that each is the same when no step comes from the cache

The container files are the users' own. Only what they start from is ours: `python:3.11-slim` is made of
Debian packages under that name (`base_image`), because nothing here pulls from a registry.

Archives are in `tests.controlplane.programs.cache_directory()/images`, by a key over everything that goes
into them. A build can be interrupted at any point (an archive appears whole or not at all), and two at once
wait for each other. Import one with `ctr -n k8s.io images import ARCHIVE`: it carries its full reference.
"""
