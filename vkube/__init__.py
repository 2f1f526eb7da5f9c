"""The command line, and what local mode needs: manifests as local processes, through the real webhook."""
