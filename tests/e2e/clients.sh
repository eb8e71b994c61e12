# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The clients that keep images of their own, each with a storage below the test's folder: dockerd, containerd, podman.
# Sourced by lib.sh.

# What runs a client: nothing more, or a folder with another Debian (newer.sh).
RUN=(env)
# What else a test tells dockerd.
DOCKERD_OPTIONS=()

ctr_cli() {
  "${RUN[@]}" ctr -a "$T/containerd.sock" -n e2e "$@"
}

containerd_answers() {
  ctr_cli version >"$T/version" 2>&1 || service_ended containerd
}

start_containerd() {
  cat >"$T/containerd.toml" <<END
version = 2
root = "$T/containerd"
state = "$T/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$T/containerd.sock"
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 6
  concurrent_layer_fetch_buffer = 4194304
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/$(dpkg --print-architecture)"
    snapshotter = "native"
END
  start containerd "${RUN[@]}" containerd --config "$T/containerd.toml"
  wait_for 60 "an answer of containerd" containerd_answers
  ! service_ended containerd || fail "containerd does not start"
}

# snapshotter: the native one copies files and works on every file system; overlayfs is faster where it works.
snapshotter() {
  if ctr_cli plugins ls | grep -q 'snapshotter.*overlayfs.*ok'; then echo overlayfs; else echo native; fi
}

containerd_is_empty() {
  [ -z "$(ctr_cli content ls -q)" ]
}

# containerd_remove NAME: returns when its content is collected too.
containerd_remove() {
  ctr_cli images rm --sync "$1" >/dev/null
  wait_for 30 "containerd's collection of $1" containerd_is_empty
}

docker_cli() {
  "${RUN[@]}" docker -H "unix://$T/docker.sock" "$@"
}

dockerd_answers() {
  docker_cli version >"$T/version" 2>&1 || service_ended dockerd
}

# start_dockerd: with LARDER_AT as its mirror.
start_dockerd() {
  client_config daemon.json >"$T/daemon.json"
  start dockerd "${RUN[@]}" dockerd --config-file "$T/daemon.json" --iptables=false --ip6tables=false --bridge=none \
    --data-root "$T/docker" --exec-root "$T/docker-exec" -H "unix://$T/docker.sock" -p "$T/docker.pid" \
    "${DOCKERD_OPTIONS[@]}"
  wait_for 60 "an answer of dockerd" dockerd_answers
  ! service_ended dockerd || fail "dockerd does not start"
}

podman_cli() {
  CONTAINERS_REGISTRIES_CONF=$T/registries.conf \
    podman --root "$T/podman" --runroot "$T/podman-run" --storage-driver "$DRIVER" "$@"
}

# pick_driver: vfs copies files and works on every file system; overlay is faster where it works.
pick_driver() {
  DRIVER=overlay
  podman_cli info >"$T/podman.info" 2>&1 || DRIVER=vfs
}

# expect_image FILE MANIFEST-DIGEST [NAME@DIGEST]: FILE, `image inspect` as docker and podman print it, has the manifest's
# configuration and layers, and was pulled as NAME@DIGEST.
expect_image() {
  local config
  config=$(jq -r .config.digest "$(truth "$2")")
  [ "$(jq -r '.[0].Id | ltrimstr("sha256:")' "$1")" = "${config#*:}" ] || fail "the client holds another configuration"
  [ "$(jq -c '.[0].RootFS.Layers' "$1")" = "$(jq -c .rootfs.diff_ids "$(truth "$config")")" ] ||
    fail "the client holds other layers"
  [ -z "${3:-}" ] || jq -e --arg digest "$3" '.[0].RepoDigests | index($digest) != null' "$1" >/dev/null ||
    fail "the client holds another manifest than $3"
}
