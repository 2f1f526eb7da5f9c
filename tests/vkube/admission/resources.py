"""What the containers of a Pod to be judged take: the application's, and by annotations the pod agent's."""

from __future__ import annotations

SMALL = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}}
AGENT = {
    "vanadium.io/cpu-request": "20m",
    "vanadium.io/cpu-limit": "200m",
    "vanadium.io/memory-request": "32Mi",
    "vanadium.io/memory-limit": "64Mi",
}
