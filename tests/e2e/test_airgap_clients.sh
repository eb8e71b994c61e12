#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three images of two platforms cross an air gap into an empty store; behind it, with the registry and the near larder
# gone, docker, podman, containerd and skopeo pull each platform by tag and by digest, and get what the registry held.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need dockerd docker podman containerd ctr skopeo umoci curl jq tar
need_daemons
need_unpacking

PLATFORMS=(amd64 arm64)
# The second is what older images are: a manifest list of Docker's.
declare -A FORMAT=([one]=oci [two]=v2s2 [three]=oci)
declare -A TYPE=([one]=application/vnd.oci.image.index.v1+json [three]=application/vnd.oci.image.index.v1+json
  [two]=application/vnd.docker.distribution.manifest.list.v2+json)
IMAGES=(one two three)
NAMES=()
# Of each image, the digest of its index, and of IMAGE/PLATFORM, as the registry has it.
declare -A TRUE=()

copy() {
  skopeo --insecure-policy --registries-conf "$T/registries.conf" copy -q "$@"
}

# make_image NAME: one layer that all images share and one that differs, for each platform, into the registry.
make_image() {
  local platform tags=()
  for platform in "${PLATFORMS[@]}"; do
    umoci config --image "$T/layout:other" --tag "$1-$platform" --architecture "$platform"
    mkdir -p "$T/root/etc"
    echo "$1 for $platform" >"$T/root/etc/larder-e2e"
    tar -C "$T/root" -cf "$T/layer.tar" etc
    umoci raw add-layer --image "$T/layout:$1-$platform" "$T/layer.tar"
    tags+=("$1-$platform")
  done
  add_index "$T/layout" "$1" "${tags[@]}"
  copy --all --format "${FORMAT[$1]}" --dest-tls-verify=false "oci:$T/layout:$1" "docker://$REGISTRY/$REPOSITORY-$1:1"
}

# learn_image NAME: what the registry holds of it.
learn_image() {
  local platform
  REPOSITORY=$REPOSITORY-$1 learn_truth 1
  TRUE[$1]=$MANIFEST
  [ "$(content_type "$(truth "$MANIFEST").head")" = "${TYPE[$1]}" ] || fail "the registry holds $1 as another type"
  for platform in "${PLATFORMS[@]}"; do
    TRUE[$1/$platform]=$(jq -er --arg arch "$platform" '.manifests[] | select(.platform.architecture == $arch) | .digest' \
      "$(truth "$MANIFEST")")
  done
}

# What follows pulls IMAGE SUFFIX PLATFORM, the suffix being :1 or @ and the index's digest, compares it, and removes it again.

pull_docker() {
  local name=${REPOSITORY#library/}-$1
  docker_cli pull -q --platform "linux/$3" "$name$2" >"$T/said"
  docker_cli image inspect "$name$2" >"$T/image.json"
  expect_image "$T/image.json" "${TRUE[$1/$3]}" "$name@${TRUE[$1]}"
  docker_cli rmi -f "$name$2" >"$T/said"
  [ -z "$(docker_cli images -q -a)" ] || fail "docker still holds $name$2"
}

pull_podman() {
  local name=docker.io/$REPOSITORY-$1 picked=${TRUE[$1/$3]}
  podman_cli pull -q --platform "linux/$3" "$name$2" >"$T/said"
  podman_cli image inspect "$name$2" >"$T/image.json"
  expect_image "$T/image.json" "$picked" "$name@$picked"
  podman_cli rmi -f "$name$2" >"$T/said"
}

pull_containerd() {
  local name=docker.io/$REPOSITORY-$1$2 picked=${TRUE[$1/$3]} digest
  ctr_cli images pull --platform "linux/$3" --snapshotter "$SNAPSHOTTER" --hosts-dir "$T/hosts" "$name" >"$T/said"
  [ "$(ctr_cli images ls "name==$name" 2>>"$T/ctr.log" | awk 'NR == 2 { print $3 }')" = "${TRUE[$1]}" ] ||
    fail "containerd holds another $name"
  for digest in "${TRUE[$1]}" "$picked" $(blobs_of "$picked"); do
    ctr_cli content get "$digest" | cmp - "$(truth "$digest")"
  done
  containerd_remove "$name"
}

pull_skopeo() {
  local picked=${TRUE[$1/$3]} digest
  rm -rf "$T/out"
  copy --override-arch "$3" "docker://docker.io/$REPOSITORY-$1$2" "dir:$T/out"
  cmp "$T/out/manifest.json" "$(truth "$picked")"
  for digest in $(blobs_of "$picked"); do
    cmp "$T/out/${digest#*:}" "$(truth "$digest")"
  done
}

# pull_everything CLIENT: and all of it came out of larder.
pull_everything() {
  local image platform suffix began=$SECONDS
  say "$1 pulls each platform by tag and by digest"
  for image in "${IMAGES[@]}"; do
    for platform in "${PLATFORMS[@]}"; do
      for suffix in :1 "@${TRUE[$image]}"; do
        note_requests "${TRUE[$image/$platform]}"
        "pull_$1" "$image" "$suffix" "$platform"
        expect_new_requests "${TRUE[$image/$platform]}"
      done
    done
  done
  say "in $((SECONDS - began)) s"
}

docker_loads_an_archive() {
  local platform image name
  say "docker loads what is exported for it"
  for platform in "${PLATFORMS[@]}"; do
    on larder export --held-only --format docker-archive --platform "linux/$platform" -o "$T/docker.tar" "${NAMES[@]}"
    docker_cli load -q -i "$T/docker.tar" >"$T/said"
    for image in "${IMAGES[@]}"; do
      name=${REPOSITORY#library/}-$image:1
      docker_cli image inspect "$name" >"$T/image.json"
      expect_image "$T/image.json" "${TRUE[$image/$platform]}"
      docker_cli rmi -f "$name" >"$T/said"
    done
  done
}

cp -r "$(image_layout)" "$T/layout"
: >"$T/registries.conf"
start_registry
for image in "${IMAGES[@]}"; do
  make_image "$image"
  learn_image "$image"
  NAMES+=("docker.io/$REPOSITORY-$image:1")
done

say "exported, and imported into an empty store without a registry"
start_side near --upstream "docker.io=http://$REGISTRY"
on near export -o "$T/bundle.tar" "${NAMES[@]}"
stop near
stop_upstream
start_side larder --offline
on larder import "$T/bundle.tar"

for image in "${IMAGES[@]}"; do
  REPOSITORY=$REPOSITORY-$image MANIFEST=${TRUE[$image]} \
    expect_served_by_larder 1 "${TRUE[$image]}" "${TRUE[$image/amd64]}" "${TRUE[$image/arm64]}"
done

client_config registries.conf >"$T/registries.conf"
mkdir -p "$T/hosts/docker.io"
client_config containerd/docker.io/hosts.toml >"$T/hosts/docker.io/hosts.toml"
pick_driver
start_containerd
SNAPSHOTTER=$(snapshotter)
start_dockerd

for client in skopeo containerd podman docker; do
  pull_everything "$client"
done
docker_loads_an_archive
