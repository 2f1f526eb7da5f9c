"""What the command line prints is what was said."""

from __future__ import annotations

import pytest

from vkube.complaints import complaining, console
from vkube.errors import VkubeError


@pytest.mark.parametrize("markup", [True, False])
def test_names_and_fingerprints_are_printed_as_they_are(markup: bool) -> None:
    said = "acme:rocket:shop:web has the key 84:0d:b4:cd:da:ec"
    with console.capture() as printed:
        console.print(said, markup=markup, soft_wrap=True)
    assert printed.get() == f"{said}\n"


def test_a_complaint_names_what_it_is_about_as_it_is() -> None:
    @complaining
    def fails() -> None:
        raise VkubeError("acme:cd:web is not registered")

    with console.capture() as printed, pytest.raises(SystemExit):
        fails()
    assert printed.get() == "vkube: acme:cd:web is not registered\n"
