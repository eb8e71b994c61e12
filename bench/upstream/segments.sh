#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A blob of 512 MiB from an upstream that gives each stream 20 MB/s: one stream against larder with four lanes.
#   bench/upstream/segments.sh BUILD-DIRECTORY [LATENCY-MS]
set -euo pipefail
bin=$(cd "${1:?the build directory with larder and scripted-upstream}" && pwd)
latency=${2:-0}
T=$(mktemp -d "${TMPDIR:-/tmp}/larder-bench.XXXXXX")
pids=()
# shellcheck disable=SC2317 # called by trap
finish() {
  kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$T"
}
trap finish EXIT

size=$((512 << 20))
"$bin/scripted-upstream" --stream-rate 20000000 --latency "$latency" --blob "7:$size" >"$T/upstream.json" &
pids+=($!)
until url=$(grep -o 'http://[0-9.:]*' "$T/upstream.json") && digest=$(grep -o 'sha256:[0-9a-f]*' "$T/upstream.json"); do
  sleep 0.1
done
"$bin/larder" serve --listen 127.0.0.1:0 --admin off --store "$T/store" --upstream "test=$url" >"$T/larder.log" 2>&1 &
pids+=($!)
until larder=$(sed -n 's/.*listening on \(127.0.0.1:[0-9]*\).*/\1/p' "$T/larder.log") && [ -n "$larder" ]; do
  sleep 0.1
done

# fetch BASE: prints the seconds it took.
fetch() {
  curl -fsS -o "$T/blob" -w '%{time_total}\n' "$1/v2/team/app/blobs/${digest%%$'\n'*}"
  echo "${digest#sha256:}  $T/blob" | sha256sum --quiet -c - >&2
}

one=$(fetch "$url")
four=$(fetch "http://$larder")
echo "one stream: $one s   larder: $four s   faster: $(awk "BEGIN { printf \"%.2f\", $one / $four }") times   latency: $latency ms"
kill -USR1 "${pids[0]}"
sleep 0.2
tail -n 1 "$T/upstream.json"
