"""The page of `vkube dashboard`: what the cluster agent and the API server know, kept up to date on loopback.

`sources` read in threads, `state` is what they read as values, `page` and the modules beside it make HTML of
it, `gate` decides which requests are answered, and `server` serves.
"""
