"""The command line: the table of commands, the options that they share, completion, and exit codes.

Nothing here imports a command: its module is imported when the command is called, so that `vkube --help` and
completion take no longer than Python itself.
"""
