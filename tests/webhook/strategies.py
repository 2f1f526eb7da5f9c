"""Random Pods, and what other injectors do to them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.pods import container, pod

JSONObject = dict[str, Any]
Injector = Callable[[JSONObject], JSONObject]

# What is proved here is no matter of time, and a busy machine is no reason to fail.

_WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
_VALUES = st.text("a $()é/~", max_size=5)
_UNKNOWN: st.SearchStrategy[JSONObject] = st.dictionaries(
    st.sampled_from(["futureField", "x~y/z", "anotherOne"]),
    st.recursive(st.none() | st.booleans() | st.integers() | _VALUES, st.lists, max_leaves=5),
    max_size=2,
)


def _array(items: st.SearchStrategy[JSONObject]) -> st.SearchStrategy[list[JSONObject] | None]:
    """A field that may be null, empty or filled."""
    return st.one_of(st.none(), st.lists(items, max_size=3))


_VARIABLES = _array(
    st.builds(lambda name, value: {"name": f"USER_{name}", "value": value}, _WORDS, _VALUES)
    | st.builds(
        lambda name: {"name": f"FROM_{name}", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        _WORDS,
    )
    | st.just({"name": "V23_AGENT_PATH", "value": "/run/vanadium/agent.sock"})
)
_MOUNTS = _array(
    st.builds(
        lambda volume, path: {"name": volume, "mountPath": path},
        st.sampled_from(["scratch", "data"]),
        st.sampled_from(["/data", "/tmp", "/run/vanadium-other", "/var/run/secrets", "/etc/~odd/path"]),
    )
    | st.just({"name": "scratch", "mountPath": "/run"})
)


@st.composite
def _containers(draw: st.DrawFn, prefix: str, smallest: int) -> list[JSONObject]:
    names = draw(st.lists(_WORDS, min_size=smallest, max_size=3, unique=True))
    made = []
    for name in names:
        fields = draw(_UNKNOWN)
        for key, values in (("env", _VARIABLES), ("volumeMounts", _MOUNTS)):
            if draw(st.booleans()):
                fields[key] = draw(values)
        made.append(container(f"{prefix}-{name}", **fields))
    return made


@st.composite
def pods(draw: st.DrawFn) -> JSONObject:
    """A Pod of a user's that can be injected."""
    spec = draw(_UNKNOWN)
    volumes = draw(st.sampled_from([None, "null", "empty", "some"]))
    if volumes is not None:
        some = [
            {"name": "scratch", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "d"}},
        ]
        spec["volumes"] = {"null": None, "empty": [], "some": some}[volumes]
    init = draw(st.none() | _containers("init", 0))
    made = pod(
        *draw(_containers("app", 1)), init=init, labels=draw(st.none() | st.just({"app/~x": "y"})), **spec
    )
    # Mounts above the socket directory need a volume that can hold one.
    if volumes != "some":
        for each in [*made["spec"]["containers"], *(init or [])]:
            if each.get("volumeMounts"):
                each["volumeMounts"] = [
                    mount for mount in each["volumeMounts"] if mount["mountPath"] != "/run"
                ]
    return made


@st.composite
def injectors(draw: st.DrawFn) -> Injector:
    """Another webhook: puts a container somewhere, or changes every container that it finds, ours too."""
    place = draw(st.sampled_from(["containers", "initContainers"]))
    position = draw(st.integers(0, 5))
    name = f"other-{draw(_WORDS)}"
    kind = draw(st.sampled_from(["container", "everywhere", "volume", "defaults", "annotation"]))
    fields = draw(_UNKNOWN)

    def run(before: JSONObject) -> JSONObject:
        after = copy.deepcopy(before)
        spec = after["spec"]
        everything = [*spec["containers"], *(spec.get("initContainers") or [])]
        if kind == "container" and all(each["name"] != name for each in everything):
            spec[place] = spec.get(place) or []
            spec[place].insert(position, container(name, **fields))
        elif kind == "everywhere":
            for each in everything:
                each["env"] = [*(each.get("env") or []), {"name": "OTHER", "value": "$(V23_AGENT_PATH)"}]
                each["volumeMounts"] = [
                    *(each.get("volumeMounts") or []),
                    {"name": f"volume-{name}", "mountPath": f"/opt/{name}"},
                ]
            spec["volumes"] = [*(spec.get("volumes") or []), {"name": f"volume-{name}", "emptyDir": {}}]
        elif kind == "volume":
            spec["volumes"] = [{"name": f"volume-{name}", "emptyDir": {}}, *(spec.get("volumes") or [])]
        elif kind == "defaults":
            for each in everything:
                each.setdefault("terminationMessagePath", "/dev/termination-log")
                each["image"] = "mirror.example/" + each["image"]
        elif kind == "annotation":
            after["metadata"].setdefault("annotations", {})[f"{name}.example/status"] = "injected"
        return after

    return run
