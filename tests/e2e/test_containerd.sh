#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# containerd, with larder in its hosts.toml, pulls an image, then again with the registry stopped; then one of another
# upstream, which it names by ?ns= to the mirror of all registries.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need containerd ctr skopeo curl jq
need_daemons

ctr_cli() {
  ctr -a "$T/containerd.sock" -n e2e "$@"
}

daemon_answers() {
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
END
  start containerd containerd --config "$T/containerd.toml"
  wait_for 60 "an answer of containerd" daemon_answers
  ! service_ended containerd || fail "containerd does not start"
}

# snapshotter: the native one copies files and works on every file system; overlayfs is faster where it works.
snapshotter() {
  if ctr_cli plugins ls | grep -q 'snapshotter.*overlayfs.*ok'; then echo overlayfs; else echo native; fi
}

try_pull() {
  ctr_cli images pull --snapshotter "$SNAPSHOTTER" --hosts-dir "$T/hosts" "$1" >"$T/pull.out" 2>&1
}

pull() {
  try_pull "$1" || {
    cat "$T/pull.out" >&2
    fail "ctr images pull $1"
  }
}

# compare NAME: containerd's content store holds the registry's very bytes.
compare() {
  local digest
  [ "$(ctr_cli images ls "name==$1" | awk 'NR == 2 { print $3 }')" = "$MANIFEST" ] ||
    fail "containerd holds another manifest"
  for digest in "$MANIFEST" "$PICKED" $(jq -r '.config.digest, .layers[].digest' "$(truth "$PICKED")"); do
    ctr_cli content get "$digest" | cmp - "$(truth "$digest")"
  done
}

content_is_empty() {
  [ -z "$(ctr_cli content ls -q)" ]
}

remove() {
  ctr_cli images rm --sync "$1" >/dev/null
  wait_for 30 "containerd's collection of $1" content_is_empty
}

start_registry
push multi
learn_truth multi
PICKED=$(platform_manifest)
start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY" --upstream "quay.io=http://$REGISTRY"
mkdir -p "$T/hosts/docker.io" "$T/hosts/_default"
client_config containerd/docker.io/hosts.toml >"$T/hosts/docker.io/hosts.toml"
client_config containerd/_default/hosts.toml >"$T/hosts/_default/hosts.toml"
start_containerd
SNAPSHOTTER=$(snapshotter)

say "cold"
pull "docker.io/$REPOSITORY:multi"
compare "docker.io/$REPOSITORY:multi"
expect_new_requests "$PICKED"
remove "docker.io/$REPOSITORY:multi"
pull "quay.io/$REPOSITORY:multi"
compare "quay.io/$REPOSITORY:multi"
remove "quay.io/$REPOSITORY:multi"

say "with the registry stopped"
stop_upstream
note_requests "$PICKED"
pull "docker.io/$REPOSITORY:multi"
compare "docker.io/$REPOSITORY:multi"
expect_new_requests "$PICKED"
remove "docker.io/$REPOSITORY:multi"
note_requests "$PICKED"
pull "quay.io/$REPOSITORY:multi"
compare "quay.io/$REPOSITORY:multi"
expect_new_requests "$PICKED"
remove "quay.io/$REPOSITORY:multi"

say "a registry that larder does not know is an error, not an address to dial"
! try_pull "localhost:1/$REPOSITORY:multi" || fail "pulled from an unknown registry"
