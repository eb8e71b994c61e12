#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What larder tells of layers, through its indexes, is what tar unpacks of each, and what umoci unpacks of them all: the
# list, and each file's bytes, whole and from a random place. Without arguments it takes the small image, and layers by every
# compressor that Debian has. Otherwise the tag $2 of the layout $1, which tests/e2e/large-image makes a real image of.
# shellcheck source=tests/e2e/lib.sh
[ $# = 0 ] || export E2E_WATCHED=yes
source "$(dirname "$0")/lib.sh"
need umoci skopeo docker-registry jq python3 zstd
[ "$(id -u)" = 0 ] || skip "umoci and tar unpack owners and devices as root alone"
umask 022

# upload LAYOUT TAG: to the registry, its layers as they are.
upload() {
  skopeo --insecure-policy copy -q --preserve-digests --dest-tls-verify=false "oci:$1:$2" "docker://$REGISTRY/$REPOSITORY:$2"
}

# compare TAG FOLDER [layer]
compare() {
  printf '%s: ' "$1"
  python3 "$E2E_SOURCE/tests/e2e/compare_files.py" "$T/admin" "$REPOSITORY:$1" "$2" "${@:3}"
}

# unpack_layer FILE: into unpacked/, by tar.
unpack_layer() {
  rm -rf "$T/unpacked"
  mkdir "$T/unpacked"
  decompressed "$1" | tar -C "$T/unpacked" --numeric-owner --same-owner -p --xattrs --xattrs-include='*' -xf -
}

# compare_layers LAYOUT TAG: each layer, as an image of its own.
compare_layers() {
  local layer number=0
  for layer in $(jq -r '.layers[].digest' "$(manifest_of "$1" "$2")"); do
    number=$((number + 1))
    layer=$1/blobs/sha256/${layer#*:}
    add_image "$1" "layer-$number" "$layer"
    upload "$1" "layer-$number"
    unpack_layer "$layer"
    compare "layer-$number" "$T/unpacked" layer
  done
  rm -rf "$T/unpacked"
}

compare_image() {
  upload "$1" "$2"
  umoci unpack --image "$1:$2" "$T/bundle" 2>>"$T/umoci.log"
  compare "$2" "$T/bundle/rootfs"
}

# As eStargz has it: a gzip member for each file, and an empty one behind.
members() {
  python3 - "$T/layer.tar" <<'END'
import gzip, sys, tarfile
data = open(sys.argv[1], "rb").read()
cuts = [member.offset for member in tarfile.open(sys.argv[1])] + [len(data)] * 2
sys.stdout.buffer.write(b"".join(gzip.compress(data[start:end]) for start, end in zip(cuts, cuts[1:])))
END
}

# compare_compressors LAYOUT: the layer of coreutils, by all that compress.
compare_compressors() {
  local tar=$T/layer.tar name command
  decompressed "$1/blobs/sha256/$(jq -r '.layers[2].digest | sub("sha256:"; "")' "$(manifest_of "$1" plain)")" >"$tar"
  unpack_layer "$tar"
  while IFS='|' read -r name command; do
    if ! command -v "${command%% *}" >/dev/null; then
      echo "without $name: ${command%% *} is not installed"
      continue
    fi
    eval "$command" <"$tar" >"$T/$name.layer"
    add_image "$1" "$name" "$T/$name.layer"
    upload "$1" "$name"
    compare "$name" "$T/unpacked" layer
  done <<'END'
uncompressed|cat
gzip|gzip -9
rsyncable|gzip -1 --rsyncable
pigz|pigz -p 2
pigz-blocks|pigz -p 2 -i -b 128
bgzip|bgzip -c
zstd|zstd -q -3
zstd-frames|pzstd -q -p 4 -c
members|members
END
}

buildah_cli() {
  buildah --root "$T/buildah" --runroot "$T/buildah-run" --storage-driver vfs "$@"
}

# compare_buildah FORMAT: the same files, in a layer that buildah makes, and compresses when it pushes.
compare_buildah() {
  local tag=buildah-${1/:/-} container layer
  # Of a layer that it has seen before buildah would push what is there.
  echo "$1" >"$T/format"
  container=$(buildah_cli from scratch)
  buildah_cli add -q "$container" "$T/layer.tar" / >"$T/id"
  buildah_cli add -q "$container" "$T/format" / >"$T/id"
  buildah_cli commit -q --format oci "$container" "localhost/$tag" >"$T/id"
  buildah_cli push -q --tls-verify=false --compression-format "$1" "localhost/$tag" "docker://$REGISTRY/$REPOSITORY:$tag"
  learn_truth "$tag"
  [ "$1" != zstd:chunked ] ||
    jq -e '.layers[0].annotations | any(keys[]; endswith("zstd-chunked.manifest-position"))' "$(truth "$MANIFEST")" \
      >/dev/null || fail "buildah made no zstd:chunked"
  layer=$(truth "$(jq -r '.layers[0].digest' "$(truth "$MANIFEST")")")
  [ "$(compression "$layer")" = zstd ] || fail "buildah made no zstd"
  unpack_layer "$layer"
  compare "$tag" "$T/unpacked" layer
}

# compare_stargz: the same as containerd's converter makes eStargz of it, whose own files are then in it too.
compare_stargz() {
  local name=$REGISTRY/$REPOSITORY
  start_containerd
  ctr_cli content fetch --plain-http "$name:gzip" >"$T/fetch.log" 2>&1
  ctr-remote -a "$T/containerd.sock" -n e2e images convert --oci --estargz "$name:gzip" "$name:estargz" >"$T/convert.log" 2>&1
  ctr_cli images push --plain-http "$name:estargz" >"$T/push.log" 2>&1
  learn_truth estargz
  unpack_layer "$(truth "$(jq -r '.layers[0].digest' "$(truth "$MANIFEST")")")"
  [ -e "$T/unpacked/stargz.index.json" ] || fail "this is no eStargz"
  compare estargz "$T/unpacked" layer
}

start_registry
start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY" --admin "unix:$T/admin"
if [ $# -gt 0 ]; then
  layout=$T/layout
  # Its blobs are not copied.
  mkdir "$layout"
  cp "$1/oci-layout" "$1/index.json" "$layout"
  mkdir -p "$layout/blobs/sha256"
  ln -s "$(readlink -f "$1")"/blobs/sha256/* "$layout/blobs/sha256"
  compare_layers "$layout" "$2"
  compare_image "$layout" "$2"
  exit 0
fi
need setfattr setcap
layout=$T/layout
cp -r "$(image_layout)" "$layout"
add_changed "$layout"
compare_layers "$layout" changed
compare_image "$layout" changed
compare_compressors "$layout"
if command -v buildah >/dev/null; then
  compare_buildah zstd
  compare_buildah zstd:chunked
else
  echo "without what buildah makes: it is not installed"
fi
if command -v ctr-remote >/dev/null && grep -q ' /sys/fs/cgroup' /proc/self/mounts; then
  compare_stargz
else
  echo "without eStargz: ctr-remote (stargz-snapshotter) is not installed, or containerd has no cgroups"
fi
