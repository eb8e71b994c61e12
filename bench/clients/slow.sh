#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How clients fare while another address is hostile: slowhttptest holds 1,000 connections with slow headers, slow bodies, slow
# reads, and ranges. Ends with status 1 when the 99th percentile of the others' requests went beyond twice what it is without.
#   bench/clients/slow.sh BUILD-DIRECTORY
# Needs slowhttptest (Debian), root for a network namespace, and a machine that does nothing else.
set -euo pipefail
if [ -z "${BENCH_NAMESPACE:-}" ]; then
  BENCH_NAMESPACE=yes exec unshare -npf --mount-proc --kill-child -- "$0" "$@"
fi
bin=$(cd "${1:?the build directory with larder, scripted-upstream and bench-load}" && pwd)
connections=1000 seconds=${SLOW_SECONDS:-8} clients=8
# A client's address is the one that it connects to: the hostile one and the others have one each.
hostile=10.9.0.1 others=10.9.0.2 port=5100
ip link set lo up
ip address add $hostile/32 dev lo
ip address add $others/32 dev lo
ulimit -n "$(ulimit -Hn)"
T=$(mktemp -d "${TMPDIR:-/tmp}/larder-bench.XXXXXX")
pids=()
# shellcheck disable=SC2317 # called by trap
finish() {
  kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$T"
}
trap finish EXIT

"$bin/scripted-upstream" --image team/app:v1:1:1M >"$T/upstream.json" &
pids+=($!)
until url=$(grep -o 'http://[0-9.:]*' "$T/upstream.json"); do sleep 0.1; done
cat >"$T/larder.yaml" <<END
listen: 0.0.0.0:$port
store: { path: $T/store, min_free: 0 }
default_upstream: test
upstreams: { test: { url: "$url", tag_ttl: 1h } }
END
"$bin/larder" serve -c "$T/larder.yaml" --admin off >"$T/larder.log" 2>&1 &
larder=$!
pids+=("$larder")
until curl -fsS -o "$T/manifest" "http://$others:$port/v2/team/app/manifests/v1" 2>/dev/null; do sleep 0.1; done
layer=/v2/team/app/blobs/$(jq -r '.layers[0].digest' "$T/manifest")
until curl -fsS -o /dev/null -D - "http://$others:$port$layer" | grep -q '; hit'; do sleep 0.1; done

# p99 PATH: in microseconds, of requests one after the other over each of some connections.
p99() {
  "$bin/bench-load" -c $clients -t "$seconds" "http://$others:$port$1" >"$T/load" || {
    cat "$T/load" >&2
    exit 1
  }
  awk '/^whole_p99_us/ { print $2 }' "$T/load"
}

open_connections() {
  ss -Htn state established "src $hostile and sport = :$port" | wc -l
}

worst=0
# row NAME: what the others see now.
row() {
  local manifest blob
  manifest=$(p99 /v2/team/app/manifests/v1)
  blob=$(p99 "$layer")
  [ "$1" != nothing ] || manifest_normal=$manifest blob_normal=$blob
  printf '| %s | %s | %s | %s (%s) | %s (%s) | %s |\n' "$1" "$opened" "$(open_connections)" "$manifest" \
    "$(awk "BEGIN { printf \"%.2f\", $manifest / $manifest_normal }")" "$blob" \
    "$(awk "BEGIN { printf \"%.2f\", $blob / $blob_normal }")" "$(awk '/VmRSS/ { print int($2 / 1024) }' /proc/$larder/status)"
  awk "BEGIN { exit !($manifest > 2 * $manifest_normal || $blob > 2 * $blob_normal) }" && worst=1
  return 0
}

# attack NAME OPTION…
attack() {
  local name=$1 pid
  shift
  slowhttptest -c $connections -r 500 -l 600 -v 0 "$@" >"$T/attack.log" 2>&1 </dev/null &
  pid=$!
  pids+=("$pid")
  sleep 4
  opened=$(open_connections)
  row "$name"
  kill "$pid"
  wait "$pid" 2>/dev/null || true
}

echo "| meanwhile, 1,000 connections | open at first | at last | manifest p99, µs (of normal) | 1 MiB p99, µs (of normal) | MiB resident |"
echo "|---|---|---|---|---|---|"
opened=0
row nothing
attack "slow headers" -H -i 10 -x 24 -t GET -u "http://$hostile:$port/v2/"
attack "slow bodies" -B -i 10 -s 8192 -x 10 -t POST -u "http://$hostile:$port/v2/team/app/blobs/uploads/"
attack "slow reads" -X -n 5 -w 512 -y 1024 -z 32 -k 3 -u "http://$hostile:$port$layer"
attack "ranges" -R -a 5 -b 3000 -t HEAD -u "http://$hostile:$port$layer"
exit $worst
