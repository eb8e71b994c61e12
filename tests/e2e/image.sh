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

# put_blob LAYOUT MEDIA-TYPE FILE: puts a file's bytes into the layout, and prints their descriptor.
put_blob() {
  local hex
  hex=$(sha256sum "$3" | cut -d' ' -f1)
  [ -e "$1/blobs/sha256/$hex" ] || cp "$3" "$1/blobs/sha256/$hex"
  jq -nc --arg type "$2" --arg digest "sha256:$hex" --argjson size "$(stat -L -c %s "$3")" \
    '{mediaType: $type, digest: $digest, size: $size}'
}

# name_manifest LAYOUT NAME: what comes on standard input, a manifest or an index, becomes what the tag NAME means.
name_manifest() {
  local descriptor
  cat >"$1.manifest"
  descriptor=$(put_blob "$1" "$(jq -r .mediaType "$1.manifest")" "$1.manifest")
  jq -c --argjson descriptor "$descriptor" --arg name "$2" \
    '.manifests += [$descriptor + {annotations: {"org.opencontainers.image.ref.name": $name}}]' \
    "$1/index.json" >"$1.index"
  mv "$1.index" "$1/index.json"
  rm -f "$1.manifest"
}

# manifest_of LAYOUT TAG: the path of its manifest.
manifest_of() {
  local digest
  digest=$(jq -r --arg tag "$2" \
    '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag) | .digest' "$1/index.json")
  echo "$1/blobs/sha256/${digest#*:}"
}

# add_index LAYOUT NAME TAG…: an image index over images of the layout, each with the platform that its configuration
# says.
add_index() {
  local layout=$1 name=$2 tag entries=() manifest config platform
  shift 2
  for tag in "$@"; do
    manifest=$(manifest_of "$layout" "$tag")
    config=$(jq -r .config.digest "$manifest")
    platform=$(jq -c '{platform: {architecture, os}}' "$layout/blobs/sha256/${config#*:}")
    entries+=("$(put_blob "$layout" application/vnd.oci.image.manifest.v1+json "$manifest" |
      jq -c --argjson platform "$platform" '. + $platform')")
  done
  printf '%s\n' "${entries[@]}" |
    jq -cs '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: .}' |
    name_manifest "$layout" "$name"
}

# compression FILE: gzip, zstd or none, by its first bytes; zstd may begin with a frame to be skipped.
compression() {
  case $(od -An -tx1 -N4 "$1" | tr -d ' ') in
    1f8b*) echo gzip ;;
    28b52ffd | 5?2a4d18) echo zstd ;;
    *) echo none ;;
  esac
}

# decompressed FILE: prints the tar that a layer is of.
decompressed() {
  case $(compression "$1") in
    gzip) gzip -dc "$1" ;;
    zstd) zstd -qdc "$1" ;;
    none) cat "$1" ;;
  esac
}

# add_image LAYOUT NAME LAYER…: an image of layers that are there as files, and stay compressed as they are.
add_image() {
  local layout=$1 name=$2 layer suffix layers=() diffs=()
  shift 2
  for layer in "$@"; do
    suffix=+$(compression "$layer")
    layers+=("$(put_blob "$layout" "application/vnd.oci.image.layer.v1.tar${suffix%+none}" "$layer")")
    diffs+=("sha256:$(decompressed "$layer" | sha256sum | cut -d' ' -f1)")
  done
  printf '%s\n' "${diffs[@]}" | jq -Rn --arg arch "$(dpkg --print-architecture)" \
    '{architecture: $arch, os: "linux", config: {}, rootfs: {type: "layers", diff_ids: [inputs]}}' >"$layout.config"
  printf '%s\n' "${layers[@]}" | jq -cs \
    --argjson config "$(put_blob "$layout" application/vnd.oci.image.config.v1+json "$layout.config")" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: .}' |
    name_manifest "$layout" "$name"
  rm -f "$layout.config"
}

# add_changed LAYOUT: the tag "changed", which is "plain" and a layer that takes back, replaces and adds, of each kind.
# Needs root, setfattr and setcap; leaves the two unpacked, in changed/rootfs.
add_changed() {
  umoci unpack --image "$1:plain" "$T/changed" 2>>"$T/umoci.log"
  (
    cd "$T/changed/rootfs" || exit
    rm -rf usr/share/doc
    mkdir -m 2755 usr/share/doc
    echo new >usr/share/doc/new
    chown 33:42 usr/share/doc/new
    rm usr/bin/tac
    mkdir -p usr/bin/tac/now/a/directory
    chmod 4755 usr/bin/factor
    ln usr/bin/factor usr/bin/hard
    ln -s ../bin/factor usr/bin/soft
    ln -s "$(printf 'no\twhere\377')" usr/bin/broken
    mkfifo usr/fifo
    mknod usr/null c 1 3
    dd if=/dev/urandom of=usr/sparse bs=4096 seek=300 count=2 status=none
    echo x >"usr/$(printf 'odd\tname\n\377')"
    touch -d '1969-12-31 23:59:58 UTC' usr/old
    setfattr -n user.larder -v "$(printf 'a\nb')" usr/old
    setcap cap_net_raw+ep usr/bin/sort
  )
  umoci repack --refresh-bundle --image "$1:changed" "$T/changed" 2>>"$T/umoci.log"
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
