#!/usr/bin/env python3
"""Holds rendered manifests against Kubernetes' own schemas, strictly, and against each other:

    kubectl kustomize deploy/k8s/overlays/china > china.yaml && deploy/manifests.py china.yaml

The two kinds of the Prometheus operator have no schema here; what is checked of them is said below.
"""

import sys

import kubernetes_validate
import yaml

KUBERNETES = "1.31"  # the oldest version with every field that is used
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
DRAIN_SECONDS = 25


def problems_of(manifests):
    by_kind = {}
    for one in manifests:
        by_kind.setdefault(one["kind"], {})[one["metadata"]["name"]] = one
    for one in manifests:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] not in OPERATOR:
            try:
                kubernetes_validate.validate(one, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name}: {'/'.join(map(str, error.path))}: {error.message}"
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "event-pipeline":
            yield f"{name}: it is in no namespace"
    for kind in ("StatefulSet", "Deployment"):
        for workload in by_kind.get(kind, {}).values():
            yield from problems_of_workload(workload, by_kind)
    for monitor in by_kind.get("ServiceMonitor", {}).values():
        yield from problems_of_monitor(monitor, by_kind["Service"].values())
    rules = by_kind["PrometheusRule"]["event-pipeline"]["spec"]["groups"]
    if sum(len(group["rules"]) for group in rules) < 30:
        yield "PrometheusRule: rules are missing"


def problems_of_workload(workload, by_kind):
    name = workload["metadata"]["name"]
    template = workload["spec"]["template"]
    pod = template["spec"]
    labels = template["metadata"]["labels"]

    def missing(kind, wanted):
        return wanted not in by_kind.get(kind, {})

    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    if not (pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"):
        yield f"{name}: the pod is not restricted"
    for container in pod["containers"]:
        context = container["securityContext"]
        if context["allowPrivilegeEscalation"] or context["capabilities"] != {"drop": ["ALL"]} or not context["readOnlyRootFilesystem"]:
            yield f"{name}: the container is not restricted"
        if ":" not in container["image"].rsplit("/", 1)[-1]:
            yield f"{name}: the image has no tag"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if container[probe]["httpGet"]["port"] not in [port["name"] for port in container["ports"]]:
                yield f"{name}: {probe} asks a port that is not there"
        for source in container.get("envFrom", []):
            if missing("ConfigMap", source["configMapRef"]["name"]):
                yield f"{name}: there is no ConfigMap {source['configMapRef']['name']}"
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in pod.get("volumes", [])} | claims
        if mounts != volumes:
            yield f"{name}: volumes {volumes} are mounted as {mounts}"
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pod["terminationGracePeriodSeconds"] <= DRAIN_SECONDS + pause:
            yield f"{name}: the grace period is not longer than the drain"
    for volume in pod.get("volumes", []):
        if "configMap" in volume and missing("ConfigMap", volume["configMap"]["name"]):
            yield f"{name}: there is no ConfigMap {volume['configMap']['name']}"
    if missing("ServiceAccount", pod["serviceAccountName"]):
        yield f"{name}: there is no ServiceAccount"
    elif "eks.amazonaws.com/role-arn" not in by_kind["ServiceAccount"][pod["serviceAccountName"]]["metadata"].get("annotations", {}):
        yield f"{name}: its ServiceAccount has no role"
    selects = [workload["spec"]["selector"]["matchLabels"]]
    selects += [spread["labelSelector"]["matchLabels"] for spread in pod["topologySpreadConstraints"]]
    if missing("PodDisruptionBudget", name):
        yield f"{name}: there is no disruption budget"
    else:
        selects.append(by_kind["PodDisruptionBudget"][name]["spec"]["selector"]["matchLabels"])
    for select in selects:
        if not select or not select.items() <= labels.items():
            yield f"{name}: {select} does not select its pods, {labels}"


def problems_of_monitor(monitor, services):
    """It selects exactly one service, which has the port; that the job is called so is for the rules."""
    name = monitor["metadata"]["name"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    absent = [expression["key"] for expression in monitor["spec"]["selector"]["matchExpressions"]]
    found = [
        service for service in services
        if wanted.items() <= service["metadata"]["labels"].items()
        and not any(label in service["metadata"]["labels"] for label in absent)
    ]
    if len(found) != 1:
        yield f"ServiceMonitor {name} selects {len(found)} services"
    elif monitor["spec"]["endpoints"][0]["port"] not in [port["name"] for port in found[0]["spec"]["ports"]]:
        yield f"ServiceMonitor {name}: its service has no such port"
    elif found[0]["metadata"]["labels"].get(monitor["spec"]["jobLabel"]) != name:
        yield f"ServiceMonitor {name}: the job would not be called {name}"


def main():
    for file in sys.argv[1:]:
        with open(file) as text:
            manifests = list(yaml.safe_load_all(text))
        problems = list(problems_of(manifests))
        if problems:
            sys.exit("\n".join(problems))
        unchecked = [one for one in manifests if one["kind"] in OPERATOR]
        print(f"{file}: {len(manifests)} manifests hold, {len(unchecked)} of them without a schema (the operator's)")


if __name__ == "__main__":
    main()
