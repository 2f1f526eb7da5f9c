"""The command line and local mode, which runs manifests as local processes through the real webhook."""
