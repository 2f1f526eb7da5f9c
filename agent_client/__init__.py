"""What an application's program uses to speak with the pod agent beside it.

from agent_client import AgentClient

AgentClient().names()   # [Name('acme:prod:shop:web:web-1')]
"""

from agent_client.async_client import AsyncAgentClient
from agent_client.client import AgentClient
from agent_client.discharge_fetcher import DischargeFetcher, DischargeUnavailable
from agent_client.messages import AgentError, Presentation, ServedBlessing, Signature
from agent_client.peer_lists import PeerLists
from agent_client.published_lists import ListFile, PublishedLists
from agent_client.remote_principal import RemotePrincipal

__all__ = [
    "AgentClient",
    "AgentError",
    "AsyncAgentClient",
    "DischargeFetcher",
    "DischargeUnavailable",
    "ListFile",
    "PeerLists",
    "Presentation",
    "PublishedLists",
    "RemotePrincipal",
    "ServedBlessing",
    "Signature",
]
