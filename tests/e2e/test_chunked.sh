#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# podman pulls a zstd:chunked image as it does when it has some of its files: by small ranges at the end of each layer, then
# by several ranges at once, on blobs that larder has never seen; then with the registry stopped.
# $1: the Debian that podman is of.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/newer.sh
source "$E2E_SOURCE/tests/e2e/newer.sh"
need skopeo curl jq
need_suite "$1"
need_unpacking
"${RUN[@]}" sh -c "command -v podman" >"$T/which" || skip "there is no podman"

podman_cli() {
  CONTAINERS_STORAGE_CONF=$T/storage.conf CONTAINERS_REGISTRIES_CONF=$T/registries.conf TMPDIR=$T "${RUN[@]}" podman "$@"
}

pull_and_compare() {
  podman_cli pull -q "docker.io/$REPOSITORY:chunked" >"$T/id"
  podman_cli image inspect "docker.io/$REPOSITORY:chunked" >"$T/image.json"
  [ "$(jq -c '.[0].RootFS.Layers' "$T/image.json")" = "$(jq -c .rootfs.diff_ids "$(truth "$CONFIG")")" ] ||
    fail "podman holds other layers"
}

start_registry
layout=$(image_layout)
cp -r "$layout" "$T/layout"
"${RUN[@]}" skopeo --insecure-policy copy -q --dest-tls-verify=false --dest-compress \
  --dest-compress-format zstd:chunked "oci:$T/layout:plain" "docker://$REGISTRY/$REPOSITORY:chunked"
learn_truth chunked
CONFIG=$(jq -r .config.digest "$(truth "$MANIFEST")")
mapfile -t LAYERS < <(jq -r '.layers[].digest' "$(truth "$MANIFEST")")
jq -e 'all(.layers[].annotations; has("io.github.containers.zstd-chunked.manifest-position"))' "$(truth "$MANIFEST")" \
  >/dev/null || skip "this skopeo does not make zstd:chunked layers"
start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY"
client_config registries.conf >"$T/registries.conf"
cat >"$T/storage.conf" <<END
[storage]
driver = "overlay"
runroot = "$T/run"
graphroot = "$T/root"
[storage.options]
pull_options = { enable_partial_images = "true", use_hard_links = "false", ostree_repos = "", convert_images = "false" }
END
podman_cli info >"$T/podman.info" 2>&1 || skip "podman has no overlay storage here"

say "cold"
pull_and_compare
for layer in "${LAYERS[@]}"; do
  ranges=$(grep -c "GET.*${layer#*:}.* status=206 " "$T/larder.log" || true)
  [ "$ranges" -ge 2 ] || fail "podman asked for $layer by $ranges ranges"
  ! grep -q "GET.*${layer#*:}.* status=200 " "$T/larder.log" || fail "podman asked for the whole of $layer"
done

say "with the registry stopped"
stop_upstream
podman_cli rmi -f "docker.io/$REPOSITORY:chunked" >/dev/null
note_requests "$MANIFEST"
pull_and_compare
expect_new_requests "$MANIFEST"
expect_served_by_larder chunked
