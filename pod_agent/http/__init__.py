"""HTTP/1.1's server side on h11, within limits.

A handler is an async function of a `Request` that returns an `Answer`, or raises HttpError; `routed` makes
one of a table of routes.
"""
