"""What commands print: results on standard output, everything else on standard error.

Nothing is wrapped, and there are no colours, so that what a pipe gets is what a terminal shows.
"""
