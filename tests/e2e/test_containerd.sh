#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# containerd, with larder in its hosts.toml, pulls an image, then again with the registry stopped; then one of another
# upstream, which it names by ?ns= to the mirror of all registries.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need containerd ctr skopeo curl jq
need_daemons

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
containerd_remove "docker.io/$REPOSITORY:multi"
pull "quay.io/$REPOSITORY:multi"
compare "quay.io/$REPOSITORY:multi"
containerd_remove "quay.io/$REPOSITORY:multi"

say "with the registry stopped"
stop_upstream
note_requests "$PICKED"
pull "docker.io/$REPOSITORY:multi"
compare "docker.io/$REPOSITORY:multi"
expect_new_requests "$PICKED"
containerd_remove "docker.io/$REPOSITORY:multi"
note_requests "$PICKED"
pull "quay.io/$REPOSITORY:multi"
compare "quay.io/$REPOSITORY:multi"
expect_new_requests "$PICKED"
containerd_remove "quay.io/$REPOSITORY:multi"

say "a registry that larder does not know is an error, not an address to dial"
! try_pull "localhost:1/$REPOSITORY:multi" || fail "pulled from an unknown registry"
