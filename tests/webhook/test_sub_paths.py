"""Containers that mount one file of the identity's volume, which no renewal reaches."""

from __future__ import annotations

import pytest

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, injected
from webhook.errors import RefusalError
from webhook.injection import inject
from webhook.reasons import AdmissionReason
from webhook.volume_support import VolumeSupport

FILE = {"name": "vanadium-identity", "mountPath": "/etc/web/tls.pem", "readOnly": True}
ASKING = {"vanadium.io/delivery": "volume"}


@pytest.mark.parametrize("key", ["subPath", "subPathExpr"])
def test_a_file_that_is_mounted_alone_is_warned_of_because_it_is_never_renewed(key: str) -> None:
    subject = pod(container("web", volumeMounts=[{**FILE, key: "tls.pem"}]), annotations=ASKING)
    injection = inject(subject, CONFIGURATION, VolumeSupport(None))
    assert injection.reason is AdmissionReason.VOLUME_INJECTED
    (warning,) = [one for one in injection.warnings if "spec.containers[0].volumeMounts[0]" in one]
    assert "/etc/web/tls.pem" in warning
    assert "never renewed" in warning


def test_the_whole_directory_elsewhere_is_not_warned_of() -> None:
    mount = {"name": "vanadium-identity", "mountPath": "/etc/web/identity", "readOnly": True}
    subject = pod(container("web", volumeMounts=[mount]), annotations=ASKING)
    assert not inject(subject, CONFIGURATION, VolumeSupport(None)).warnings


@pytest.mark.parametrize("key", ["subPath", "subPathExpr"])
def test_a_part_of_the_volume_where_the_whole_goes_is_refused(key: str) -> None:
    mount = {"name": "vanadium-identity", "mountPath": "/run/vanadium-files", "readOnly": True}
    subject = pod(container("web", volumeMounts=[{**mount, key: "federated"}]), annotations=ASKING)
    with pytest.raises(RefusalError) as caught:
        inject(subject, CONFIGURATION, VolumeSupport(None))
    assert caught.value.reason is AdmissionReason.MOUNT_PATH_CLASH


def test_an_empty_sub_path_is_the_whole_volume() -> None:
    after = injected(pod())
    (mount,) = after["spec"]["containers"][0]["volumeMounts"]
    mount["subPath"] = ""
    assert inject(after, CONFIGURATION).operations == []
