"""What the cluster agent signs for kubelets, for commands that show what the webhook would do."""

from __future__ import annotations

import argparse

from service.errors import ServiceError
from vkube.admission.judgement import Object, judge
from vkube.admission.templates import Template
from vkube.errors import VkubeError
from vkube.output.lines import warning
from webhook import application_ttls
from webhook.settings import Settings
from webhook.volume_support import VolumeSupport


def with_ttls(
    options: argparse.Namespace,
    support: VolumeSupport,
    settings: Settings,
    subjects: list[tuple[Template, Object | None]],
) -> VolumeSupport:
    """`support` with the TTLs of the applications, where one of the Pods, in its namespace, would have a
    volume without them. Only administrators may see them: others are warned, and then it is not known."""
    if not any(judge(one.pod, settings, support, namespace).by_volume for one, namespace in subjects):
        return support
    from vkube.connection.cluster_agent import administering

    try:
        with administering(options) as agent:
            return support._replace(ttls=application_ttls.read(agent.call))
    except (VkubeError, ServiceError) as error:
        warning(
            "a Pod whose application has a TTL of less than 1 h gets no volume, which cannot be seen here: "
            f"{error}"
        )
        return support._replace(is_known=False)
