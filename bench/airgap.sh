#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What crossing an air gap costs: an export beside cp, an import beside sha256sum of the same bytes, and the memory of
# both. bench/airgap.sh LARDER [GIB [ROUNDS [FOLDER]]]: on the file system of FOLDER, which needs four times the room.
# Prints a line for each round, and the medians. Rounds are interleaved, and everything is in the page cache.
set -euo pipefail

larder=$(realpath "${1:?is the larder to measure}")
gib=${2:-4}
rounds=${3:-5}
top=$(mktemp -d "${4:-${TMPDIR:-/tmp}}/larder-bench.XXXXXX")
trap 'rm -rf -- "$top"' EXIT
export LARDER_CONFIG=$top/empty.yaml
echo '{}' >"$LARDER_CONFIG"

blob() {
  local hex
  hex=$(sha256sum "$1" | cut -d' ' -f1)
  mv "$1" "$top/layout/blobs/sha256/$hex"
  echo "\"digest\":\"sha256:$hex\",\"size\":$(stat -c %s "$top/layout/blobs/sha256/$hex")"
}

# One image, with a layer of a gigabyte of noise for each that is asked for.
make_layout() {
  local oci=application/vnd.oci.image i layers=() config manifest
  mkdir -p "$top/layout/blobs/sha256"
  for ((i = 0; i < gib; i++)); do
    head -c 1G /dev/urandom >"$top/part"
    layers+=("{\"mediaType\":\"$oci.layer.v1.tar\",$(blob "$top/part")}")
  done
  printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}' >"$top/part"
  config="{\"mediaType\":\"$oci.config.v1+json\",$(blob "$top/part")}"
  printf '{"schemaVersion":2,"config":%s,"layers":[%s]}' "$config" "$(
    IFS=,
    echo "${layers[*]}"
  )" >"$top/part"
  manifest="\"mediaType\":\"$oci.manifest.v1+json\",$(blob "$top/part")"
  printf '{"schemaVersion":2,"manifests":[{%s,"annotations":{"%s":"docker.io/library/big:1"}}]}' "$manifest" \
    org.opencontainers.image.ref.name >"$top/layout/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$top/layout/oci-layout"
}

# An empty store is what `serve` makes; it is told to end as soon as it is there.
make_store() {
  "$larder" serve --listen 127.0.0.1:0 --admin off --store "$1" >"$top/serve.log" 2>&1 &
  local pid=$!
  until grep -q 'listening on' "$top/serve.log"; do
    kill -0 "$pid"
    sleep 0.02
  done
  kill "$pid"
  wait "$pid" || true
}

# measure NAME COMMAND…: takes down seconds and the most memory, in KiB, that one process had.
measure() {
  local name=$1
  shift
  /usr/bin/time -o "$top/time" -f '%e %M' "$@" >"$top/said"
  echo "$name $(cat "$top/time")" | tee -a "$top/results"
}

median() {
  awk -v name="$1" -v column="$2" '$1 == name { print $column }' "$top/results" | sort -n |
    awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

make_layout
make_store "$top/store"
"$larder" import --store "$top/store" "$top/layout" >/dev/null
for ((round = 0; round < rounds; round++)); do
  measure export "$larder" export --store "$top/store" -o "$top/out.tar" docker.io/library/big:1
  measure cp cp "$top/out.tar" "$top/copy.tar"
  rm "$top/copy.tar"
  make_store "$top/fresh"
  measure import "$larder" import --store "$top/fresh" "$top/out.tar"
  rm -r "$top/fresh"
  measure sha256sum sha256sum "$top/out.tar"
  rm "$top/out.tar"
done
awk -v export="$(median export 2)" -v cp="$(median cp 2)" -v import="$(median import 2)" -v sum="$(median sha256sum 2)" \
  -v export_kib="$(median export 3)" -v import_kib="$(median import 3)" 'BEGIN {
    printf "export: %.2f s, %.2f of cp (%.2f s), %.1f MiB\n", export, cp / export, cp, export_kib / 1024
    printf "import: %.2f s, %.2f of sha256sum (%.2f s), %.1f MiB\n", import, import / sum, sum, import_kib / 1024
  }'
