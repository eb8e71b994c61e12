#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the tools of a Debian write to archives and folders, larder imports, offline, and serves; what larder exports, they
# read. $1: the Debian that they are of: here, trixie, sid; $2: the tool.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/newer.sh
source "$E2E_SOURCE/tests/e2e/newer.sh"
need skopeo umoci curl jq tar
need_suite "$1"
TOOL=$2
PROGRAM=$TOOL
if [ "$TOOL" = containerd ]; then PROGRAM=ctr; fi
"${RUN[@]}" sh -c "command -v $PROGRAM" >"$T/which" || skip "there is no $PROGRAM"
case $TOOL in containerd | docker) need_daemons ;; esac
case $TOOL in containerd | docker | podman | buildah) need_unpacking ;; esac
NAME=docker.io/$REPOSITORY:1

tool() {
  "${RUN[@]}" "$TOOL" "$@"
}

# containers ARGUMENT…: podman and buildah, with a storage of the test's own.
containers() {
  CONTAINERS_REGISTRIES_CONF=$T/registries.conf TMPDIR=$T tool --root "$T/storage/root" --runroot "$T/storage/run" \
    --storage-driver vfs "$@"
}

# make_image: an image of two platforms, two small layers each.
make_image() {
  local arch other=arm64
  [ "$(dpkg --print-architecture)" != arm64 ] || other=amd64
  umoci init --layout "$T/layout"
  for arch in "$(dpkg --print-architecture)" "$other"; do
    umoci new --image "$T/layout:$arch"
    for layer in one two; do
      mkdir -p "$T/root/etc"
      echo "$layer for $arch" >"$T/root/etc/$layer"
      tar -C "$T/root" -cf "$T/layer.tar" "etc/$layer"
      umoci raw add-layer --image "$T/layout:$arch" "$T/layer.tar"
    done
    umoci config --image "$T/layout:$arch" --architecture "$arch" --config.cmd /bin/true
  done
  add_index "$T/layout" 1 "$(dpkg --print-architecture)" "$other"
}

# take PATH NAME [OPTION…]: imports it. Then expect_same NAME MANIFEST or expect_image_taken NAME.
take() {
  local path=$1
  shift
  on far import "$@" "$path" >"$T/said" 2>&1 || {
    cat "$T/said" >&2
    fail "an import of ${path##*/}"
  }
}

# expect_same NAME:TAG DIGEST: it is served under that name, all of it, byte for byte.
expect_same() {
  MANIFEST=$2 LARDER_AT=${at[far]} REPOSITORY=${1%:*} expect_served_by_larder "${1##*:}" "${@:3}"
}

# unpacked FILE: a layer, whatever it is packed with.
unpacked() {
  case $(od -An -tx1 -N4 "$1" | tr -d ' ') in
    1f8b*) gzip -dc "$1" ;;
    28b52ffd) zstd -dc "$1" ;;
    *) cat "$1" ;;
  esac
}

# expect_alike NAME:TAG: the tool made another manifest of it, and may have packed the layers anew: their content is that
# of this platform's image.
expect_alike() {
  local base=http://${at[far]}/v2/${1%:*} digest i=0
  fetch_manifest "$base" "${1##*:}" "$T/alike"
  if jq -e .manifests "$T/alike" >/dev/null; then
    digest=$(jq -r --arg arch "$(dpkg --print-architecture)" \
      '[.manifests[] | select((.platform.architecture // $arch) == $arch)][0].digest' "$T/alike")
    fetch_manifest "$base" "$digest" "$T/alike"
  fi
  curl -fsS -o "$T/got" "$base/blobs/$(jq -r .config.digest "$T/alike")"
  [ "$(jq -c .rootfs.diff_ids "$T/got")" = "$(jq -c .rootfs.diff_ids "$(truth "$CONFIG")")" ] ||
    fail "$1 has other layers"
  for digest in $(jq -r '.layers[].digest' "$T/alike"); do
    curl -fsS -o "$T/got" "$base/blobs/$digest"
    [ "sha256:$(unpacked "$T/got" | sha256sum | cut -d' ' -f1)" = "$(jq -r ".rootfs.diff_ids[$i]" "$(truth "$CONFIG")")" ] ||
      fail "layer $i of $1 has another content"
    i=$((i + 1))
  done
  [ "$i" = 2 ] || fail "$1 has $i layers"
}

# same_layers FILE: `image inspect`, as docker and podman print it.
same_layers() {
  [ "$(jq -c '.[0].RootFS.Layers' "$1")" = "$(jq -c .rootfs.diff_ids "$(truth "$CONFIG")")" ] ||
    fail "$TOOL holds other layers"
}

write_skopeo() {
  local copy=(skopeo --insecure-policy copy -q --src-tls-verify=false) from=docker://$LARDER_AT/$REPOSITORY:1
  "${RUN[@]}" "${copy[@]}" --all "$from" "oci:$T/s1:docker.io/library/by-skopeo:folder"
  take "$T/s1"
  expect_same library/by-skopeo:folder "$MANIFEST"
  "${RUN[@]}" "${copy[@]}" --all "$from" "oci-archive:$T/s2.tar:docker.io/library/by-skopeo:archive"
  take "$T/s2.tar"
  expect_same library/by-skopeo:archive "$MANIFEST"
  "${RUN[@]}" "${copy[@]}" "$from" "oci-archive:$T/s3.tar:v1"
  take "$T/s3.tar" --as docker.io/library/by-skopeo
  expect_same library/by-skopeo:v1 "$PICKED" "$PICKED"
  "${RUN[@]}" "${copy[@]}" "$from" "docker-archive:$T/s4.tar:docker.io/library/by-skopeo:docker"
  take "$T/s4.tar"
  expect_alike library/by-skopeo:docker
}

read_skopeo() {
  "${RUN[@]}" skopeo --insecure-policy copy -q --all "oci-archive:$T/site.tar:$NAME" "dir:$T/read"
  cmp "$T/read/manifest.json" "$(truth "$MANIFEST")"
  "${RUN[@]}" skopeo --insecure-policy copy -q "docker-archive:$T/docker.tar:$NAME" "dir:$T/read.docker"
  [ "$(jq -r .config.digest "$T/read.docker/manifest.json")" = "$CONFIG" ] || fail "skopeo read another image"
}

write_umoci() {
  cp -r "$T/layout" "$T/u1"
  umoci gc --layout "$T/u1"
  take "$T/u1" --as docker.io/library/by-umoci
  expect_same library/by-umoci:1 "$MANIFEST"
}

# It knows no images of several platforms.
read_umoci() {
  local single=docker.io/$REPOSITORY:single
  skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$T/layout:$(dpkg --print-architecture)" \
    "docker://$REGISTRY/$REPOSITORY:single"
  on near export -o "$T/single" "$single"
  umoci unpack --rootless --image "$T/single:$single" "$T/bundle"
  grep -q "one for" "$T/bundle/rootfs/etc/one" || fail "umoci unpacked something else"
}

write_oras() {
  tool copy -r --from-plain-http --to-oci-layout "$LARDER_AT/$REPOSITORY:1" "$T/o1:v1" >"$T/oras.log"
  take "$T/o1" --as docker.io/library/by-oras
  expect_same library/by-oras:v1 "$MANIFEST"
}

read_oras() {
  tool copy -r --from-oci-layout "$T/site@$MANIFEST" --to-oci-layout "$T/read:1" >"$T/oras.log"
  cmp "$T/read/blobs/sha256/${MANIFEST#*:}" "$(truth "$MANIFEST")"
}

write_crane() {
  tool pull --insecure --format=oci "$LARDER_AT/$REPOSITORY:1" "$T/c1"
  take "$T/c1" --as docker.io/library/by-crane:folder
  expect_same library/by-crane:folder "$MANIFEST"
  tool pull --insecure --format=tarball "$LARDER_AT/$REPOSITORY:1" "$T/c2.tar"
  take "$T/c2.tar" --as docker.io/library/by-crane:archive
  expect_alike library/by-crane:archive
  tool pull --insecure --format=legacy "$LARDER_AT/$REPOSITORY:1" "$T/c3.tar"
  take "$T/c3.tar" --as docker.io/library/by-crane:legacy
  expect_alike library/by-crane:legacy
}

read_crane() {
  tool validate --tarball "$T/docker.tar" >"$T/crane.log"
  tool push --insecure --index "$T/site" "$REGISTRY/library/by-larder:1" >>"$T/crane.log"
  curl -fsS "http://$REGISTRY/v2/library/by-larder/manifests/$MANIFEST" -H "Accept: $ACCEPT_ALL" |
    cmp - "$(truth "$MANIFEST")"
}

write_podman() {
  local format
  containers pull -q "$NAME" >"$T/id"
  for format in oci-archive oci-dir docker-archive; do
    containers tag "$NAME" "docker.io/library/by-podman:$format"
    containers save -q --format "$format" -o "$T/p.$format" "docker.io/library/by-podman:$format"
    take "$T/p.$format"
    expect_alike "library/by-podman:$format"
  done
  containers save -q -m -o "$T/p.many" "$NAME" docker.io/library/by-podman:oci-dir
  take "$T/p.many"
  containers rmi -f -a >"$T/id"
}

read_podman() {
  local archive
  for archive in one.tar docker.tar; do
    containers load -q -i "$T/$archive" >"$T/said"
    containers image inspect "$NAME" >"$T/image.json"
    same_layers "$T/image.json"
    containers rmi -f "$NAME" >"$T/id"
  done
  containers pull -q "oci-archive:$T/site.tar" >"$T/id"
  containers image inspect "$NAME" >"$T/image.json"
  same_layers "$T/image.json"
}

write_buildah() {
  containers pull -q "$NAME" >"$T/id"
  containers push -q "$NAME" "oci-archive:$T/b1.tar:docker.io/library/by-buildah:oci"
  take "$T/b1.tar"
  expect_alike library/by-buildah:oci
  containers push -q "$NAME" "docker-archive:$T/b2.tar:docker.io/library/by-buildah:docker"
  take "$T/b2.tar"
  expect_alike library/by-buildah:docker
  containers push -q "$NAME" "oci:$T/b3:v1"
  take "$T/b3" --as docker.io/library/by-buildah
  expect_alike library/by-buildah:v1
  containers rmi -f -a >"$T/id"
}

read_buildah() {
  containers pull -q "oci-archive:$T/site.tar:$NAME" >"$T/id"
  containers inspect --type image "$(cat "$T/id")" | jq '[{RootFS: {Layers: .OCIv1.rootfs.diff_ids}}]' >"$T/image.json"
  same_layers "$T/image.json"
}

write_containerd() {
  mkdir -p "$T/hosts/docker.io"
  client_config containerd/docker.io/hosts.toml >"$T/hosts/docker.io/hosts.toml"
  start_containerd
  ctr_cli images pull --all-platforms --snapshotter native --hosts-dir "$T/hosts" "$NAME" >"$T/pull.log"
  ctr_cli images tag "$NAME" docker.io/library/by-containerd:all >"$T/said"
  ctr_cli images export --all-platforms "$T/e1.tar" docker.io/library/by-containerd:all
  take "$T/e1.tar"
  expect_same library/by-containerd:all "$MANIFEST"
  ctr_cli images tag "$NAME" docker.io/library/by-containerd:one >"$T/said"
  ctr_cli images export --platform "linux/$(dpkg --print-architecture)" "$T/e2.tar" docker.io/library/by-containerd:one
  take "$T/e2.tar"
  expect_same library/by-containerd:one "$MANIFEST" "$PICKED"
  ctr_cli images rm --sync "$NAME" docker.io/library/by-containerd:all docker.io/library/by-containerd:one >"$T/said"
  wait_for 30 "containerd's collection" containerd_is_empty
}

read_containerd() {
  local digest
  ctr_cli images import --all-platforms --no-unpack "$T/site.tar" >"$T/said" 2>&1 ||
    ctr_cli images import --all-platforms --snapshotter native "$T/site.tar" >"$T/said"
  [ "$(ctr_cli images ls "name==$NAME" | awk 'NR == 2 { print $3 }')" = "$MANIFEST" ] || fail "containerd read another image"
  for digest in "${MANIFESTS[@]}" "${BLOBS[@]}"; do
    ctr_cli content get "$digest" | cmp - "$(truth "$digest")"
  done
}

# The store of images that is docker's own, and, from docker 28 on, containerd's.
write_docker() {
  DOCKERD_OPTIONS=(-s vfs)
  start_dockerd
  docker_cli pull -q larder-e2e:1 >"$T/id"
  docker_cli tag larder-e2e:1 by-docker:1
  docker_cli save -o "$T/d1.tar" by-docker:1 larder-e2e:1
  take "$T/d1.tar"
  expect_alike library/by-docker:1
  docker_cli save by-docker:1 | gzip >"$T/d2.tar.gz"
  take "$T/d2.tar.gz" --as docker.io/library/by-docker:packed
  expect_alike library/by-docker:packed
  docker_cli rmi -f larder-e2e:1 by-docker:1 >"$T/said"
}

read_docker() {
  docker_cli load -q -i "$T/docker.tar" >"$T/said"
  docker_cli image inspect larder-e2e:1 >"$T/image.json"
  same_layers "$T/image.json"
  stop dockerd
  if ! "${RUN[@]}" dockerd --help | grep -q -- --feature; then
    say "skipped: this docker has no choice of containerd's image store"
    return
  fi
  docker_with_containerds_store
}

docker_with_containerds_store() {
  say "docker with containerd's image store"
  rm -rf "$T/docker"
  DOCKERD_OPTIONS=(--feature containerd-snapshotter=true -s native)
  start_dockerd
  docker_cli load -q -i "$T/site.tar" >"$T/said"
  docker_cli image inspect larder-e2e:1 >"$T/image.json"
  same_layers "$T/image.json"
  [ "$(jq -r '.[0].Id' "$T/image.json")" = "$MANIFEST" ] || fail "docker loaded another index"
  docker_cli tag larder-e2e:1 by-docker:store
  docker_cli save -o "$T/d3.tar" by-docker:store
  take "$T/d3.tar"
  expect_same library/by-docker:store "$MANIFEST"
  buildx_builds
}

buildx_builds() {
  local other=arm64
  docker_cli buildx version >"$T/said" 2>&1 || {
    say "skipped: there is no docker buildx"
    return
  }
  mkdir -p "$T/context"
  echo hello >"$T/context/hello"
  printf 'FROM scratch\nCOPY hello /\nCMD ["/hello"]\n' >"$T/context/Dockerfile"
  [ "$(dpkg --print-architecture)" != arm64 ] || other=amd64
  docker_cli buildx build -q --provenance=true --platform "linux/$(dpkg --print-architecture),linux/$other" -t by-buildx:1 \
    --output "type=oci,dest=$T/x1.tar" "$T/context" >"$T/said"
  take "$T/x1.tar"
  skopeo --insecure-policy copy -q --all --src-tls-verify=false "docker://${at[far]}/library/by-buildx:1" "oci:$T/x1:1"
  docker_cli buildx build -q -t by-buildx:docker --output "type=docker,dest=$T/x2.tar" "$T/context" >"$T/said"
  take "$T/x2.tar"
  skopeo --insecure-policy copy -q --all --src-tls-verify=false "docker://${at[far]}/library/by-buildx:docker" "oci:$T/x2:1"
}

make_image
start_registry
skopeo --insecure-policy copy -q --all --dest-tls-verify=false "oci:$T/layout:1" "docker://$REGISTRY/$REPOSITORY:1"
learn_truth 1
PICKED=$(platform_manifest)
CONFIG=$(jq -r .config.digest "$(truth "$PICKED")")
mapfile -t BLOBS < <(for digest in "${MANIFESTS[@]}"; do blobs_of "$digest"; done)
start_side far --offline
start_side near --upstream "docker.io=http://$REGISTRY"
client_config registries.conf >"$T/registries.conf"
mkdir -p "$T/storage"

on near export -o "$T/site.tar" "$NAME"
on near export -o "$T/site" "$NAME"
on near export --platform "linux/$(dpkg --print-architecture)" -o "$T/one.tar" "$NAME"
on near export --format docker-archive --platform "linux/$(dpkg --print-architecture)" -o "$T/docker.tar" "$NAME"

say "larder takes what it writes: $("${RUN[@]}" sh -c "$PROGRAM --version 2>/dev/null || $PROGRAM version" | head -n 1)"
"write_$TOOL"
say "and it reads what larder writes"
"read_$TOOL"
