# SPDX-License-Identifier: Apache-2.0
# The Kubernetes manifests and the compose file, as far as they can be judged without a cluster: that each key is one that there
# is (deployment_keys.py), what each kind must have, that names and ports lead where they should, and that nothing has more
# rights or fewer bounds than larder needs. The configuration inside is larder's to check ($2 is the build tree), and what the
# nodes' container does is done in a folder. Then all is judged again with each key misspelt in turn, each bound taken away, and
# each document and file gone: what is not noticed is not examined. Without python3-yaml it says so and skips.
import os
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    print("skipped: python3-yaml is not installed")
    sys.exit(77)

from deployment_keys import COMPOSE, KUBERNETES, spoilt, strange

source, build = sys.argv[1], sys.argv[2]
wrong = []

# What other tests examine.
ELSEWHERE = {"deploy/larder.yaml": "tests/e2e/test_cli.sh", "deploy/prometheus/alerts.yaml": "tests/e2e/test_watch.sh"}
LARDER, NODES, COMPOSED = "deploy/kubernetes/larder.yaml", "deploy/kubernetes/nodes.yaml", "deploy/docker/compose.yaml"
# Without any of these, wherever it stands, something has more rights than it needs.
BOUNDS = {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities", "drop", "runAsNonRoot", "runAsUser",
          "automountServiceAccountToken", "seccompProfile", "resources", "limits", "read_only", "cap_drop", "security_opt"}


def expect(holds, where, what):
    if not holds:
        wrong.append(f"{where}: {what}")


def at(document, path, standard=None):
    for part in path.split("."):
        if not isinstance(document, dict) or part not in document:
            return standard
        document = document[part]
    return document


# What each kind is written in, and what it must say.
KINDS = {
    "Namespace": ("v1", []),
    "ConfigMap": ("v1", ["data"]),
    "Service": ("v1", ["spec.selector", "spec.ports"]),
    "StatefulSet": ("apps/v1", ["spec.serviceName", "spec.selector.matchLabels", "spec.template.spec.containers"]),
    "DaemonSet": ("apps/v1", ["spec.selector.matchLabels", "spec.template.spec.containers"]),
}


def pinned(image):
    return ":" in image.rsplit("/", 1)[-1] and not image.endswith(":latest")


def check_container(where, pod, container):
    expect(pinned(container.get("image", "")), where, f"image {container.get('image')} has no fixed tag")
    context = container.get("securityContext", {})
    expect(context.get("allowPrivilegeEscalation") is False, where, "allowPrivilegeEscalation is not false")
    expect(context.get("readOnlyRootFilesystem") is True, where, "the root file system is writable")
    expect(at(context, "capabilities.drop") == ["ALL"], where, "capabilities are not all dropped")
    either = {**pod.get("securityContext", {}), **context}
    expect(at(either, "seccompProfile.type") == "RuntimeDefault", where, "no seccomp profile")
    expect(container in pod.get("initContainers", []) or (either.get("runAsNonRoot") is True and either.get("runAsUser")),
           where, "may run as root")
    volumes = {volume["name"] for volume in pod.get("volumes", [])} | pod.get("claims", set())
    for mount in container.get("volumeMounts", []):
        expect(mount["name"] in volumes, where, f"no volume {mount['name']}")
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        port = at(container, f"{probe}.httpGet.port")
        expect(port is None or port in ports, where, f"{probe} asks at a port {port} that is not there")
    return ports


def check_workload(where, document):
    template = document["spec"]["template"]
    pod = dict(template["spec"])
    pod["claims"] = {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
    for claim in document["spec"].get("volumeClaimTemplates", []):
        expect(at(claim, "spec.resources.requests.storage"), where, f"claims no size of {claim['metadata']['name']}")
    labels = at(template, "metadata.labels", {})
    for key, value in document["spec"]["selector"]["matchLabels"].items():
        expect(labels.get(key) == value, where, f"its pods do not carry {key}")
    expect(pod.get("automountServiceAccountToken") is False, where, "its pods get a token for the cluster's API")
    ports = {}
    for container in pod.get("initContainers", []) + pod["containers"]:
        ports.update(check_container(f"{where}, {container['name']}", pod, container))
        expect(container in pod.get("initContainers", []) or at(container, "resources.limits.memory"), where,
               f"{container['name']} has no limit of memory")
    return labels, ports, pod


def check_larder(where, pod, config):
    container = pod["containers"][0]
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        expect(at(container, f"{probe}.httpGet.path") == path, where, f"{probe} is not {path}")
    expect(pod.get("terminationGracePeriodSeconds", 30) > 30, where, "ends before larder's own 25 s of grace and their rest")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    expect(config["listen"].endswith(f":{ports['registry']}"), where, "listen is at another port than the container's")
    expect(config["admin"]["listen"].endswith(f":{ports['admin']}"), where, "admin.listen is at another port")
    for path in (config["store"]["path"], config["admin"]["token_file"]):
        expect(any(path == mount or path.startswith(mount + "/") for mount in mounts), where, f"{path} is on no volume")


def check_config(where, text, run):
    config = yaml.safe_load(text)
    if not run:
        return
    with tempfile.TemporaryDirectory() as folder:
        # Files that are not on this machine.
        token = os.path.join(folder, "token")
        with open(token, "w", encoding="utf-8") as file:
            file.write("x" * 32)
        path = os.path.join(folder, "larder.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(config["admin"]["token_file"], token))
        done = subprocess.run([os.path.join(build, "larder"), "config", "check", "-c", path], capture_output=True, text=True,
                              check=False)
        expect(done.returncode == 0, where, f"larder refuses it: {done.stdout}{done.stderr}")


def check_service(where, document, pods):
    for labels, ports, _ in pods:
        if document["spec"]["selector"].items() <= labels.items():
            for port in document["spec"]["ports"]:
                expect(port.get("targetPort", port["port"]) in ports, where, f"no container has port {port['targetPort']}")
            return
    expect(False, where, "selects no pods")


def check_keys(where, value, allowed):
    for text in strange(value, allowed):
        wrong.append(f"{where}: {text}")


def check_kubernetes(name, documents, run):
    pods, namespaces = [], set()
    for document in documents:
        where = f"{name}: {document.get('kind')} {at(document, 'metadata.name')}"
        version, fields = KINDS.get(document.get("kind"), (None, []))
        check_keys(where, document, KUBERNETES.get(document.get("kind"), {}))
        expect(version == document.get("apiVersion"), where, f"apiVersion is {document.get('apiVersion')}")
        expect(at(document, "metadata.name"), where, "has no name")
        for field in fields:
            expect(at(document, field), where, f"has no {field}")
        if document["kind"] == "Namespace":
            namespaces.add(document["metadata"]["name"])
            expect(at(document, "metadata.labels.pod-security.kubernetes.io/enforce") or any(
                key == "pod-security.kubernetes.io/enforce" for key in document["metadata"].get("labels", {})), where,
                   "does not say what pods it takes")
        else:
            expect(at(document, "metadata.namespace") in namespaces, where, "is in a namespace that is not made before")
        if document["kind"] in ("StatefulSet", "DaemonSet"):
            pods.append(check_workload(where, document))
    for document in documents:
        where = f"{name}: {document['kind']} {at(document, 'metadata.name')}"
        if document["kind"] == "Service":
            check_service(where, document, pods)
        elif document["kind"] == "ConfigMap" and "larder.yaml" in document["data"]:
            check_config(where, document["data"]["larder.yaml"], run)


def check_compose(name, documents):
    document = documents[0]
    check_keys(name, document, COMPOSE)
    for service, settings in document["services"].items():
        where = f"{name}: {service}"
        expect(settings.get("read_only") is True, where, "the root file system is writable")
        expect(settings.get("cap_drop") == ["ALL"], where, "capabilities are not all dropped")
        expect("no-new-privileges:true" in settings.get("security_opt", []), where, "may gain privileges")
        expect(settings.get("build") or pinned(settings["image"]), where, "the image has no fixed tag")
        for volume in settings["volumes"]:
            expect(volume.split(":")[0] in document["volumes"], where, f"no volume {volume}")
        listen = settings["command"][settings["command"].index("--listen") + 1].rsplit(":", 1)[-1]
        for port in settings["ports"]:
            expect(port.rsplit(":", 1)[-1] == listen, where, f"publishes {port}, and larder listens at {listen}")
            expect(port.startswith("127.0.0.1:"), where, f"{port} is open to all without anybody having said so")


def check_nodes(documents):
    """Does what the container that writes does, with its paths in a folder."""
    pod = [document for document in documents if document["kind"] == "DaemonSet"][0]["spec"]["template"]["spec"]
    data = [document["data"] for document in documents if document["kind"] == "ConfigMap"][0]
    container = pod["initContainers"][0]
    with tempfile.TemporaryDirectory() as folder:
        for mount in container["volumeMounts"]:
            os.mkdir(folder + mount["mountPath"])
        for name, text in data.items():
            with open(f"{folder}/hosts/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        command = [word.replace("/certs.d", f"{folder}/certs.d").replace("/hosts/", f"{folder}/hosts/")
                   for word in container["command"]]
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            expect(done.returncode == 0, "nodes.yaml", f"its command fails: {done.stderr}")
        written = [os.path.relpath(os.path.join(top, name), f"{folder}/certs.d")
                   for top, _, names in os.walk(f"{folder}/certs.d") for name in names]
        expect(written == ["_default/hosts.toml"], "nodes.yaml", f"its command writes {written}")
        if written == ["_default/hosts.toml"]:
            with open(f"{folder}/certs.d/_default/hosts.toml", encoding="utf-8") as file:
                expect(file.read() == data["hosts.toml"], "nodes.yaml", "its command writes another hosts.toml")


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def judge(files, run=True):
    """What is wrong with the files: a list of texts. `run`: programs too."""
    wrong.clear()
    for name, documents in files.items():
        if name.startswith("deploy/kubernetes/"):
            check_kubernetes(name, documents, run)
        elif name.startswith("deploy/docker/"):
            check_compose(name, documents)
        else:
            expect(False, name, "is examined by nobody")
    expect(COMPOSED in files, COMPOSED, "is not there")
    larder, nodes = files[LARDER], files[NODES]
    pod = of_kind(larder, "StatefulSet")[0]["spec"]["template"]["spec"]
    check_larder(LARDER, pod, yaml.safe_load(of_kind(larder, "ConfigMap")[0]["data"]["larder.yaml"]))
    served = [port for document in of_kind(larder, "Service") for port in document["spec"]["ports"]]
    for port in pod["containers"][0]["ports"]:
        expect(port["name"] in [each["targetPort"] for each in served], LARDER, f"no service leads to {port['name']}")
    hosts = of_kind(nodes, "ConfigMap")[0]["data"]["hosts.toml"]
    expect(any(f":{port['nodePort']}" in hosts for port in served if "nodePort" in port), NODES, "hosts.toml names another port than the service")
    expect(len(of_kind(nodes, "DaemonSet")) == 1, NODES, "there is not one DaemonSet")
    if run:
        check_nodes(nodes)
    return list(wrong)


def notices(files):
    try:
        return bool(judge(files, run=False))
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
        return True


def is_ones_own(name, path):
    """A key that may have any name."""
    return name == COMPOSED and len(path) == 2 and path[0] == "services"


def unnoticed(files):
    """What could be spoilt without anybody noticing: a list of texts."""
    found = []
    for name, documents in files.items():
        if not notices({other: each for other, each in files.items() if other != name}):
            found.append(f"{name} may be missing")
        for i, document in enumerate(documents):
            rest = documents[:i], documents[i + 1:]
            if not notices({**files, name: rest[0] + rest[1]}):
                found.append(f"{name}: document {i + 1} may be missing")
            for path, misspelt, without in spoilt(document):
                place = f"{name}: document {i + 1}: {'.'.join(map(str, path))}"
                if not is_ones_own(name, path) and not notices({**files, name: [*rest[0], misspelt, *rest[1]]}):
                    found.append(f"{place} may be misspelt")
                if path[-1] in BOUNDS and not notices({**files, name: [*rest[0], without, *rest[1]]}):
                    found.append(f"{place} may be missing")
    return found


def read_all():
    """The documents of every YAML file below deploy/ that is not examined elsewhere, by the file's name."""
    files = {}
    for top, _, names in os.walk(os.path.join(source, "deploy")):
        for name in names:
            path = os.path.relpath(os.path.join(top, name), source)
            if name.endswith((".yaml", ".yml")) and path not in ELSEWHERE:
                with open(os.path.join(source, path), encoding="utf-8") as file:
                    files[path] = [document for document in yaml.safe_load_all(file) if document]
    return files


everything = read_all()
complaints = judge(everything) or unnoticed(everything)
for path, test in ELSEWHERE.items():
    with open(os.path.join(source, test), encoding="utf-8") as file:
        if path not in file.read():
            complaints.append(f"{path} is not examined by {test}")
print("\n".join(complaints))
sys.exit(1 if complaints else 0)
