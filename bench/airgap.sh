#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What crossing an air gap costs: an export beside cp, an import beside sha256sum of the same bytes, and the memory of
# both. bench/airgap.sh LARDER [GIB [ROUNDS [FOLDER [export|import]]]]: on the file system of FOLDER, which needs four
# times the room; one of them alone where both would take too long.
#
# Before each command everything written is synced, the page cache is dropped, and what the command reads is read into it
# once: each finds its source in memory and the disk idle. Each is measured until it ends, and until `sync` of what it
# wrote has ended too. The order changes from round to round. Prints a line for each command, and the medians, of which
# the ratios are those within a round.
set -euo pipefail

larder=$(realpath "${1:?is the larder to measure}")
gib=${2:-4}
rounds=${3:-5}
only=${5:-}
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

now() {
  echo "${EPOCHREALTIME/./}"
}

# measure NAME SOURCE COMMAND…: takes down the seconds until the command has ended, and until all is on the disk, and the
# most memory, in KiB, that one process had.
measure() {
  local name=$1 source=$2 began ended
  shift 2
  sync
  echo 1 >/proc/sys/vm/drop_caches
  find "$source" -type f -exec cat {} + >/dev/null
  began=$(now)
  /usr/bin/time -o "$top/time" -f %M "$@" >"$top/said"
  ended=$(now)
  sync
  echo "$round $name $((ended - began)) $(($(now) - began)) $(cat "$top/time")" |
    awk '{ printf "%d %s %.3f %.3f %d\n", $1, $2, $3 / 1e6, $4 / 1e6, $5 }' | tee -a "$top/results"
}

measure_export() {
  rm -f "$top/out.tar"
  measure export "$top/store/blobs" "$larder" export --store "$top/store" -o "$top/out.tar" docker.io/library/big:1
}

measure_cp() {
  rm -f "$top/copy.tar"
  measure cp "$top/first.tar" cp "$top/first.tar" "$top/copy.tar"
}

measure_import() {
  rm -rf "$top/fresh"
  make_store "$top/fresh"
  measure import "$top/first.tar" "$larder" import --store "$top/fresh" "$top/first.tar"
  rm -r "$top/fresh"
}

measure_sha256sum() {
  measure sha256sum "$top/first.tar" sha256sum "$top/first.tar"
}

# median COLUMN NAME [OF]: of a command, or of its ratio to another command of the same round.
median() {
  awk -v column="$1" -v name="$2" -v of="${3:-}" '
    $2 == name { value[$1] = $column }
    $2 == of { other[$1] = $column }
    END { for (round in value) print of == "" ? value[round] : other[round] / value[round] }' "$top/results" | sort -n |
    awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

make_layout
make_store "$top/store"
"$larder" import --store "$top/store" "$top/layout" >/dev/null
rm -r "$top/layout"
"$larder" export --store "$top/store" -o "$top/first.tar" docker.io/library/big:1 >/dev/null
for ((round = 0; round < rounds; round++)); do
  order=(export cp import sha256sum)
  ((round % 2 == 0)) || order=(cp export sha256sum import)
  for command in "${order[@]}"; do
    case $only/$command in import/export | import/cp | export/import | export/sha256sum) continue ;; esac
    "measure_$command"
  done
done
[ "$only" = import ] || printf 'export: %.2f s, %.2f of cp (%.2f s); on disk: %.2f s, %.2f of cp; %d KiB\n' "$(median 3 export)" \
  "$(median 3 export cp)" "$(median 3 cp)" "$(median 4 export)" "$(median 4 export cp)" "$(median 5 export)"
[ "$only" = export ] || printf 'import: %.2f s, %.2f of sha256sum (%.2f s); %d KiB\n' "$(median 3 import)" "$(median 3 sha256sum import)" \
  "$(median 3 sha256sum)" "$(median 5 import)"
