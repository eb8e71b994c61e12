#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# podman with larder as the mirror of docker.io pulls an image, then again with the registry stopped; then one of
# another upstream, by the path prefix that a mirror of another registry needs.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need podman skopeo curl jq
need_unpacking

# pull_and_compare NAME: what podman says of the image it pulled is what the registry holds.
pull_and_compare() {
  podman_cli pull -q "$1:multi" >/dev/null
  podman_cli image inspect "$1:multi" >"$T/image.json"
  expect_image "$T/image.json" "$PICKED" "$1@$PICKED"
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
