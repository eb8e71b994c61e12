#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How long a warm pull takes (tag, manifest, configuration, three layers) when the upstream is stopped by SIGSTOP: the
# first, and the median of those after it; and while it answers, to compare.
#   bench/clients/hang.sh BUILD-DIRECTORY
set -euo pipefail
bin=$(cd "${1:?the build directory with larder and scripted-upstream}" && pwd)
T=$(mktemp -d "${TMPDIR:-/tmp}/larder-bench.XXXXXX")
pids=()
# shellcheck disable=SC2317 # called by trap
finish() {
  kill -CONT "${pids[0]}" 2>/dev/null || true
  kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$T"
}
trap finish EXIT

"$bin/scripted-upstream" --image team/app:v1:3:1M >"$T/upstream.json" &
pids+=($!)
until url=$(grep -o 'http://[0-9.:]*' "$T/upstream.json"); do sleep 0.1; done
cat >"$T/larder.yaml" <<END
store: { path: $T/store }
default_upstream: test
upstreams: { test: { url: "$url", tag_ttl: 0s } }
END
"$bin/larder" serve -c "$T/larder.yaml" --listen 127.0.0.1:0 --admin off >"$T/larder.log" 2>&1 &
pids+=($!)
until larder=$(sed -n 's/.*listening on \(127.0.0.1:[0-9]*\).*/\1/p' "$T/larder.log") && [ -n "$larder" ]; do
  sleep 0.1
done

# pull: prints the seconds that it took.
pull() {
  local began ended base=http://$larder/v2/team/app digests digest options=()
  began=$(date +%s.%N)
  curl -fsS -o "$T/manifest" "$base/manifests/v1"
  mapfile -t digests < <(grep -o 'sha256:[0-9a-f]*' "$T/manifest")
  for digest in "${digests[@]}"; do options+=(-o "$T/${digest#*:}" "$base/blobs/$digest"); done
  curl -fsS "${options[@]}"
  ended=$(date +%s.%N)
  for digest in "${digests[@]}"; do echo "${digest#*:}  $T/${digest#*:}"; done | sha256sum --quiet -c - >&2
  echo "$began $ended" | awk '{ printf "%.3f\n", $2 - $1 }'
}

median() {
  sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

pull >/dev/null
sleep 0.5
answering=$(for _ in 1 2 3 4 5 6 7 8 9; do pull; done | median)
kill -STOP "${pids[0]}"
first=$(pull)
later=$(for _ in 1 2 3 4 5 6 7 8 9; do pull; done | median)
kill -CONT "${pids[0]}"
echo "upstream answers: $answering s   stopped, first pull: $first s   after that: $later s"
awk "BEGIN { exit !($first <= 5 && $later < 0.3) }"
