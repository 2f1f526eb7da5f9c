"""Checks of an installation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from blessings import (
    Blessing,
    BlessingsError,
    Principal,
    Roots,
    VerificationError,
    fingerprint,
    verify_blessing,
)
from service.version import VERSION
from vkube.checks.check import Check, Found, Problems, Verdict
from vkube.checks.facts import BINDINGS, PARTS, POLICIES, SECRETS, Facts
from webhook.policy import CLUSTER_NAMESPACES

CONFIGURATION = "vanadium-webhook"
_INSTALL = "kubectl apply -k your overlay (docs/operations.md, Install)"
_SOON = timedelta(days=3)
_MANY_RESTARTS = 5


def _installed(facts: Facts) -> Problems:
    if facts.system_namespace is None:
        yield Found(f"there is no namespace {facts.system}", f"install the product: {_INSTALL}")


def _deployment(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        found = facts.deployments[name]
        if found is None:
            yield Found(f"there is no Deployment {name}", _INSTALL)
            return
        wanted = (found.get("spec") or {}).get("replicas", 1)
        available = (found.get("status") or {}).get("availableReplicas") or 0
        if wanted == 0:
            yield Found(
                "it is scaled to 0", f"kubectl -n {facts.system} scale deployment/{name} --replicas=1"
            )
        elif available < wanted:
            yield Found(f"{available} of {wanted} replicas are available", _look(facts, name))

    return Check(f"{name} is available", problems)


def _rolled_out(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        found = facts.deployments[name]
        if found is not None and (found.get("status") or {}).get("observedGeneration", 0) != found[
            "metadata"
        ].get("generation"):
            yield Found(
                "the Deployment's last change is not observed yet", "wait, or look at the controller manager"
            )

    return Check(f"{name} is rolled out", problems)


def _restarts(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        for pod in facts.pods[name]:
            for one in (pod.get("status") or {}).get("containerStatuses") or []:
                if one.get("restartCount", 0) >= _MANY_RESTARTS:
                    number = one["restartCount"]
                    yield Found(
                        f"{pod['metadata']['name']} was restarted {number} times",
                        f"vkube logs {name} --previous",
                        Verdict.WARN,
                    )

    return Check(f"{name} is not restarted", problems)


def _image(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        found = facts.deployments[name]
        for one in (found or {}).get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            image = str(one.get("image", ""))
            if one.get("name") == name and not image.endswith(f":{VERSION}") and "@" not in image:
                yield Found(
                    f"its image is {image}, vkube is {VERSION}",
                    "use a vkube of the installed version, or upgrade",
                    Verdict.WARN,
                )

    return Check(f"{name} has the version of vkube", problems)


def _service(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        if not facts.endpoints[name]:
            yield Found("no ready Pod is behind the Service", _look(facts, name))

    return Check(f"Service {name} has endpoints", problems)


def _secret(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        files = facts.secrets[name]
        if files is None:
            yield Found(
                f"there is no Secret {name}, or you may not read it",
                f"the webhook makes it: {_look(facts, 'webhook')}",
            )
            return
        try:
            principal = Principal.from_pem(files["tls.key"].encode())
            blessing = Blessing.from_pem(files["tls.crt"])
        except (KeyError, BlessingsError) as error:
            yield Found(
                f"its key or certificate cannot be read ({type(error).__name__})",
                "delete the Secret: the webhook makes it anew",
            )
            return
        if fingerprint(principal.public_key) != fingerprint(blessing.public_key):
            yield Found(
                "its key is not that of its certificate", "delete the Secret: the webhook makes it anew"
            )
        yield from _ending(facts.now, blessing.not_after)

    return Check(f"Secret {name} is usable", problems)


def _ending(now: datetime, end: datetime) -> Problems:
    if end <= now:
        yield Found(
            f"its certificate ended at {end.isoformat()}", "vkube logs webhook states why it is not renewed"
        )
    elif end - now < _SOON:
        yield Found(
            f"its certificate ends at {end.isoformat()}",
            "vkube logs webhook states why it is not renewed",
            Verdict.WARN,
        )


def _chain(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        files, roots = facts.secrets[name], facts.secrets[SECRETS[0]]
        if files is None or roots is None:
            yield Found("it cannot be read", "see above", Verdict.SKIP)
            return
        try:
            verify_blessing(
                Blessing.from_pem(files["tls.crt"]), Roots.from_pem(roots["ca.crt"]), now=facts.now
            )
        except (KeyError, BlessingsError, VerificationError) as error:
            yield Found(
                f"its certificate is not under the control plane's root: {error}",
                "delete the Secret: the webhook makes it anew",
            )

    return Check(f"Secret {name} is under the root", problems)


def _hook(name: str, problem: Callable[[dict[str, object], Facts], str], todo: str) -> Check:
    """A check of our entry in the MutatingWebhookConfiguration; `problem` is empty when it is right."""

    def problems(facts: Facts) -> Problems:
        found = facts.webhook_configurations.get(CONFIGURATION)
        hooks = (found or {}).get("webhooks") or []
        if not hooks:
            yield Found(f"there is no MutatingWebhookConfiguration {CONFIGURATION}", _INSTALL)
            return
        for hook in hooks:
            if what := problem(hook, facts):
                yield Found(what, todo)

    return Check(name, problems)


def _ca_bundle(hook: dict[str, object], facts: Facts) -> str:
    import base64

    given = str((hook["clientConfig"] or {}).get("caBundle") or "")  # type: ignore[attr-defined]  # JSON
    roots = facts.secrets[SECRETS[0]]
    if not given:
        return "it has no caBundle, so the API server does not trust the webhook"
    if roots is not None and base64.b64decode(given).decode(errors="replace") != roots.get("ca.crt"):
        return "its caBundle has other roots than the Secret"
    return ""


def _excludes(hook: dict[str, object], facts: Facts) -> str:
    expressions = (hook.get("namespaceSelector") or {}).get("matchExpressions") or []  # type: ignore[attr-defined]
    left_out = {value for one in expressions if one["operator"] == "NotIn" for value in one["values"]}
    missing = sorted((CLUSTER_NAMESPACES | {facts.system}) - left_out)
    return f"its namespaceSelector does not leave out {', '.join(missing)}" if missing else ""


def _object(kind: str, name: str, of: Callable[[Facts], object]) -> Check:
    def problems(facts: Facts) -> Problems:
        if of(facts) is None:
            yield Found(f"there is no {kind} {name}", _INSTALL)

    return Check(f"{kind} {name}", problems)


def _network_policies(facts: Facts) -> Problems:
    missing = sorted(set(PARTS) - facts.network_policies)
    if missing:
        yield Found(f"there is no NetworkPolicy {', '.join(missing)}", _INSTALL, Verdict.WARN)


def _claims(facts: Facts) -> Problems:
    for one in facts.claims:
        phase = (one.get("status") or {}).get("phase")
        if phase != "Bound":
            name = one["metadata"]["name"]
            yield Found(
                f"PersistentVolumeClaim {name} is {phase}", f"kubectl -n {facts.system} describe pvc {name}"
            )


def _look(facts: Facts, name: str) -> str:
    return f"kubectl -n {facts.system} describe pods -l app.kubernetes.io/name={name}; vkube logs {name}"


CHECKS: tuple[Check, ...] = (
    Check("namespace of the control plane", _installed),
    *(_deployment(name) for name in PARTS),
    *(_rolled_out(name) for name in PARTS),
    *(_restarts(name) for name in PARTS),
    *(_image(name) for name in PARTS),
    *(_service(name) for name in PARTS),
    *(_secret(name) for name in SECRETS),
    *(_chain(name) for name in SECRETS[1:]),
    Check("volume of the cluster agent", _claims),
    _hook(
        "webhook: caBundle", _ca_bundle, "the webhook writes it: vkube logs webhook states why it does not"
    ),
    _hook("webhook: leaves out the cluster's namespaces", _excludes, _INSTALL),
    _hook(
        "webhook: fails open",
        lambda hook, _: "" if hook.get("failurePolicy") == "Ignore" else "its failurePolicy is not Ignore",
        "set it to Ignore: otherwise no Pod of labelled namespaces starts while the webhook is away",
    ),
    _hook(
        "webhook: is called again",
        lambda hook, _: (
            "" if hook.get("reinvocationPolicy") == "IfNeeded" else "its reinvocationPolicy is Never"
        ),
        "set it to IfNeeded: otherwise containers that other webhooks add get no sockets",
    ),
    *(
        _object("ValidatingAdmissionPolicy", name, lambda facts, name=name: facts.policies[name])  # type: ignore[misc]
        for name in POLICIES
    ),
    *(
        _object("ValidatingAdmissionPolicyBinding", name, lambda facts, name=name: facts.bindings[name])  # type: ignore[misc]
        for name in BINDINGS
    ),
    *(
        _object("ClusterRole", name, lambda facts, name=name: facts.roles[name])  # type: ignore[misc]
        for name in ("vanadium-webhook", "vanadium-cluster-agent")
    ),
    Check("NetworkPolicies", _network_policies),
)
