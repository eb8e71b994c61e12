# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The image that the tests pull: layers of real files, out of the Debian packages installed here, in an OCI layout that
# is built once and kept in E2E_CACHE. Sourced by lib.sh.

# add_layer LAYOUT TAG PACKAGE: the files that an installed Debian package owns below /usr, as one more gzip layer.
add_layer() {
  local file
  dpkg -L "$3" | while read -r file; do
    case $file in /usr/*) ;; *) continue ;; esac
    if [ -L "$file" ] || [ -f "$file" ]; then
      printf '%s\n' "${file#/}"
    fi
  done >"$1.list"
  tar -C / --no-recursion --numeric-owner -cf "$1.tar" -T "$1.list"
  umoci raw add-layer --image "$1:$2" "$1.tar"
}

# add_index LAYOUT NAME TAG…: an image index over images of the layout, each with the platform that its configuration
# says.
add_index() {
  local layout=$1 name=$2 tag entries=() digest config hex size
  shift 2
  for tag in "$@"; do
    digest=$(jq -r --arg tag "$tag" \
      '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag) | .digest' "$layout/index.json")
    config=$(jq -r .config.digest "$layout/blobs/sha256/${digest#*:}")
    size=$(stat -c %s "$layout/blobs/sha256/${digest#*:}")
    entries+=("$(jq -c --arg digest "$digest" --argjson size "$size" \
      '{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size,
        platform: {architecture: .architecture, os: .os}}' "$layout/blobs/sha256/${config#*:}")")
  done
  printf '%s\n' "${entries[@]}" | jq -cs \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: .}' >"$layout.manifest"
  hex=$(sha256sum "$layout.manifest" | cut -d' ' -f1)
  size=$(stat -c %s "$layout.manifest")
  mv "$layout.manifest" "$layout/blobs/sha256/$hex"
  jq -c --arg digest "sha256:$hex" --argjson size "$size" --arg name "$name" \
    '.manifests += [{mediaType: "application/vnd.oci.image.index.v1+json", digest: $digest, size: $size,
      annotations: {"org.opencontainers.image.ref.name": $name}}]' "$layout/index.json" >"$layout.index"
  mv "$layout.index" "$layout/index.json"
}

build_layout() {
  local layout=$1 package other=arm64
  [ "$(dpkg --print-architecture)" != arm64 ] || other=amd64
  umoci init --layout "$layout"
  umoci new --image "$layout:plain"
  umoci new --image "$layout:other"
  for package in libc6 perl-base coreutils bash tar libc-bin; do
    add_layer "$layout" plain "$package"
  done
  umoci config --image "$layout:plain" --config.cmd /usr/bin/true --config.env LARDER=e2e
  add_layer "$layout" other tar
  umoci config --image "$layout:other" --architecture "$other"
  add_index "$layout" multi plain other
  rm -f "$layout.list" "$layout.tar"
}

# image_layout: prints the OCI layout with the test image, built by the first test that asks. Its tags: "plain", six
# layers of real files; "other", one layer, for another architecture; "multi", an index over both.
image_layout() {
  local layout=$E2E_CACHE/layout
  need umoci jq dpkg tar >&2
  mkdir -p "$E2E_CACHE"
  (
    flock 9
    if [ ! -d "$layout" ]; then
      rm -rf "$layout.new"
      build_layout "$layout.new"
      mv "$layout.new" "$layout"
    fi
  ) 9>"$E2E_CACHE/lock" >&2
  echo "$layout"
}
