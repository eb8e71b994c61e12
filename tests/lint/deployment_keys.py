# SPDX-License-Identifier: Apache-2.0
# What may stand in the manifests and in the compose file: the part of Kubernetes' and Compose's own descriptions that is used
# here, so that a key that is misspelt, in the wrong place or of the wrong kind is noticed. A key that is not here may be right:
# it is added once its documentation was read.
WORDS = {"*": str}  # labels, annotations, data

METADATA = {"name": str, "namespace": str, "labels": WORDS, "annotations": WORDS}
SECURITY = {"allowPrivilegeEscalation": bool, "readOnlyRootFilesystem": bool, "runAsNonRoot": bool, "runAsUser": int,
            "runAsGroup": int, "capabilities": {"drop": [str], "add": [str]}, "seccompProfile": {"type": str}}
PROBE = {"httpGet": {"path": str, "port": (str, int)}, "initialDelaySeconds": int, "periodSeconds": int,
         "timeoutSeconds": int, "failureThreshold": int, "successThreshold": int}
AMOUNTS = {"cpu": (str, int), "memory": str, "storage": str, "ephemeral-storage": str}
RESOURCES = {"requests": AMOUNTS, "limits": AMOUNTS}
CONTAINER = {"name": str, "image": str, "imagePullPolicy": str, "command": [str], "args": [str],
             "ports": [{"name": str, "containerPort": int, "protocol": str}], "readinessProbe": PROBE, "livenessProbe": PROBE,
             "startupProbe": PROBE, "resources": RESOURCES, "securityContext": SECURITY,
             "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool, "subPath": str}]}
VOLUME = {"name": str, "configMap": {"name": str, "defaultMode": int}, "secret": {"secretName": str, "defaultMode": int},
          "hostPath": {"path": str, "type": str}, "emptyDir": {"sizeLimit": str, "medium": str}}
POD = {"terminationGracePeriodSeconds": int, "automountServiceAccountToken": bool, "enableServiceLinks": bool,
       "securityContext": {"runAsNonRoot": bool, "runAsUser": int, "runAsGroup": int, "fsGroup": int,
                           "fsGroupChangePolicy": str, "seccompProfile": {"type": str}},
       "tolerations": [{"key": str, "operator": str, "value": str, "effect": str}], "nodeSelector": WORDS,
       "initContainers": [CONTAINER], "containers": [CONTAINER], "volumes": [VOLUME]}
TEMPLATE = {"metadata": METADATA, "spec": POD}
SELECTOR = {"matchLabels": WORDS}
CLAIM = {"metadata": METADATA, "spec": {"accessModes": [str], "storageClassName": str, "resources": RESOURCES}}


def kind(**parts):
    return {"apiVersion": str, "kind": str, "metadata": METADATA, **parts}


KUBERNETES = {
    "Namespace": kind(),
    "ConfigMap": kind(data=WORDS),
    "Service": kind(spec={"type": str, "externalTrafficPolicy": str, "clusterIP": str, "selector": WORDS, "ports": [
        {"name": str, "port": int, "targetPort": (str, int), "nodePort": int, "protocol": str}]}),
    "StatefulSet": kind(spec={"serviceName": str, "replicas": int, "selector": SELECTOR, "template": TEMPLATE,
                              "volumeClaimTemplates": [CLAIM]}),
    "DaemonSet": kind(spec={"selector": SELECTOR, "template": TEMPLATE}),
}

COMPOSE = {
    "services": {"*": {
        "build": {"context": str, "dockerfile": str}, "image": str, "command": [str], "ports": [str], "volumes": [str],
        "read_only": bool, "cap_drop": [str], "security_opt": [str], "stop_grace_period": str, "restart": str}},
    "volumes": {"*": type(None)},
}


def strange(value, allowed, path=""):
    """What in `value` is not as `allowed` has it: a list of texts with the places."""
    if isinstance(allowed, dict):
        if not isinstance(value, dict):
            return [f"{path}: is no mapping"]
        found = []
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            if key in allowed or "*" in allowed:
                found += strange(inner, allowed.get(key, allowed.get("*")), place)
            else:
                found.append(f"{place}: there is no such key")
        return found
    if isinstance(allowed, list):
        if not isinstance(value, list):
            return [f"{path}: is no list"]
        return [text for i, item in enumerate(value) for text in strange(item, allowed[0], f"{path}[{i}]")]
    # To Python, truth is a number.
    if not isinstance(value, allowed) or (isinstance(value, bool) and allowed is int):
        return [f"{path}: {value!r} is of another kind"]
    return []


def spoilt(value, path=()):
    """The path of each key in `value`, with two copies: one where it is misspelt, one without it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield ((*path, key), {f"{name}x" if name == key else name: each for name, each in value.items()},
                   {name: each for name, each in value.items() if name != key})
            for place, misspelt, without in spoilt(inner, (*path, key)):
                yield place, {**value, key: misspelt}, {**value, key: without}
    elif isinstance(value, list):
        for i, item in enumerate(value):
            for place, misspelt, without in spoilt(item, (*path, i)):
                yield place, value[:i] + [misspelt] + value[i + 1:], value[:i] + [without] + value[i + 1:]
