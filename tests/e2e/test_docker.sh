#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A docker daemon with larder as its registry mirror pulls an image, then again with the registry stopped.
# $1: how larder reaches the registry: plain, nginx or nghttpx.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need dockerd docker skopeo curl jq
need_daemons
need_unpacking

# pull_and_compare: what the daemon says of the image it pulled is what the registry holds.
pull_and_compare() {
  docker_cli pull -q "${REPOSITORY#library/}:multi" >/dev/null
  docker_cli image inspect "${REPOSITORY#library/}:multi" >"$T/image.json"
  expect_image "$T/image.json" "$PICKED" "${REPOSITORY#library/}@$MANIFEST"
}

# expect_files: a file out of the image that the daemon unpacked is the one on this machine that went into it.
expect_files() {
  local container
  container=$(docker_cli create --network none "${REPOSITORY#library/}:multi")
  docker_cli cp "$container:/usr/bin/perl" "$T/perl"
  cmp "$T/perl" /usr/bin/perl
  docker_cli rm "$container" >/dev/null
}

start_registry
push multi
learn_truth multi
PICKED=$(platform_manifest)
start_larder_for "$1"
start_dockerd

say "cold"
pull_and_compare
expect_new_requests "$PICKED"
[ "$1" = plain ] || expect_http2
expect_files

say "with the registry stopped"
stop_upstream
docker_cli rmi -f "${REPOSITORY#library/}:multi" >/dev/null
[ -z "$(docker_cli images -q -a)" ] || fail "docker still holds the image"
note_requests "$PICKED"
pull_and_compare
expect_new_requests "$PICKED"
expect_files

expect_served_by_larder multi "$PICKED"

say "by digest"
docker_cli rmi -f "${REPOSITORY#library/}:multi" >/dev/null
docker_cli pull -q "${REPOSITORY#library/}@$PICKED" >/dev/null
docker_cli rmi -f "${REPOSITORY#library/}@$PICKED" >/dev/null

say "by BuildKit, for a build"
note_requests "$PICKED"
mkdir "$T/context"
printf 'FROM %s:multi\nCOPY note /note\n' "${REPOSITORY#library/}" >"$T/context/Dockerfile"
date >"$T/context/note"
DOCKER_BUILDKIT=1 docker_cli build -q -t built "$T/context" >/dev/null
expect_new_requests "$PICKED"
