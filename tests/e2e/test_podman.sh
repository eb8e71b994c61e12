#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# podman with larder as the mirror of docker.io pulls an image, then again with the registry stopped; then one of
# another upstream, by the path prefix that a mirror of another registry needs.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need podman skopeo curl jq
need_unpacking

podman_cli() {
  CONTAINERS_REGISTRIES_CONF=$T/registries.conf \
    podman --root "$T/podman" --runroot "$T/podman-run" --storage-driver "$DRIVER" "$@"
}

# pick_driver: vfs copies files and works on every file system; overlay is faster where it works.
pick_driver() {
  DRIVER=overlay
  podman_cli info >"$T/podman.info" 2>&1 || DRIVER=vfs
}

# pull_and_compare NAME: what podman says of the image it pulled is what the registry holds.
pull_and_compare() {
  local config
  podman_cli pull -q "$1:multi" >/dev/null
  podman_cli image inspect "$1:multi" >"$T/image.json"
  config=$(jq -r .config.digest "$(truth "$PICKED")")
  [ "sha256:$(jq -r '.[0].Id' "$T/image.json")" = "$config" ] || fail "podman holds another configuration"
  jq -e --arg digest "$1@$PICKED" '.[0].RepoDigests | index([$digest]) != null' "$T/image.json" >/dev/null ||
    fail "podman holds another manifest"
  [ "$(jq -c '.[0].RootFS.Layers' "$T/image.json")" = "$(jq -c .rootfs.diff_ids "$(truth "$config")")" ] ||
    fail "podman holds other layers"
}

start_registry
push multi
learn_truth multi
PICKED=$(platform_manifest)
start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY" --upstream "quay.io=http://$REGISTRY"
client_config registries.conf >"$T/registries.conf"
pick_driver

say "cold"
pull_and_compare "docker.io/$REPOSITORY"
expect_new_requests "$PICKED"
podman_cli rmi -f "docker.io/$REPOSITORY:multi" >/dev/null
pull_and_compare "quay.io/$REPOSITORY"

say "with the registry stopped"
stop_upstream
podman_cli rmi -f "quay.io/$REPOSITORY:multi" >/dev/null
[ -z "$(podman_cli images -q -a)" ] || fail "podman still holds the image"
note_requests "$PICKED"
pull_and_compare "docker.io/$REPOSITORY"
expect_new_requests "$PICKED"
podman_cli rmi -f "docker.io/$REPOSITORY:multi" >/dev/null
note_requests "$PICKED"
pull_and_compare "quay.io/$REPOSITORY"
expect_new_requests "$PICKED"
expect_served_by_larder multi "$PICKED"
