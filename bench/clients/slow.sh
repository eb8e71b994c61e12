#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How clients fare while another address is hostile: slowhttptest holds 1,000 connections with slow headers, slow bodies, slow
# reads, and ranges; and how those of nginx fare, which serves the same bytes as files. Others ask as fast as they are answered.
# The attacking program polls and takes all of a core; so it has one to itself, as on a machine of its own, and what is measured
# shares another. What is normal is measured while a loop keeps that core as busy. What the server uses of a core is told at a
# rate that leaves it room: more than normal would be work that is done for slow connections.
# Ends with status 1 when the 99th percentile of larder's others went beyond twice what is normal.
#   bench/clients/slow.sh BUILD-DIRECTORY
# Needs slowhttptest and nginx (Debian), root for a network namespace, and a machine that does nothing else.
set -euo pipefail
if [ -z "${BENCH_NAMESPACE:-}" ]; then
  BENCH_NAMESPACE=yes exec unshare -npf --mount-proc --kill-child -- "$0" "$@"
fi
bin=$(cd "${1:?the build directory with larder, scripted-upstream and bench-load}" && pwd)
peers=$(cd "$(dirname "$0")/../peers" && pwd)
connections=1000 seconds=${SLOW_SECONDS:-3} clients=8
rate=200 # of each client, manifests a second
# A client's address is the one that it connects to: the hostile one and the others have one each.
hostile=10.9.0.1 others=10.9.0.2
ip link set lo up
ip address add $hostile/32 dev lo
ip address add $others/32 dev lo
sysctl -qw net.ipv4.tcp_congestion_control=reno # BBR paces loopback
attackers_core=0
taskset -pc 1 $$ >/dev/null
ulimit -n "$(ulimit -Hn)"
T=$(mktemp -d "${TMPDIR:-/tmp}/larder-bench.XXXXXX")
chmod 755 "$T"
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
listen: 0.0.0.0:5100
store: { path: $T/store, min_free: 0 }
default_upstream: test
upstreams: { test: { url: "$url", tag_ttl: 1h } }
END
"$bin/larder" serve -c "$T/larder.yaml" --admin off >"$T/larder.log" 2>&1 &
larder=$!
pids+=("$larder")
manifest=/v2/team/app/manifests/v1
until curl -fsS -o "$T/manifest" "http://$others:5100$manifest" 2>/dev/null; do sleep 0.1; done
layer=/v2/team/app/blobs/$(jq -r '.layers[0].digest' "$T/manifest")
until curl -fsS -o "$T/layer" -D - "http://$others:5100$layer" | grep -q '; hit'; do sleep 0.1; done

mkdir -p "$T/root/v2/team/app/manifests" "$T/root/v2/team/app/blobs"
cp "$T/manifest" "$T/root$manifest"
cp "$T/layer" "$T/root$layer"
chmod -R a+rX "$T/root"
sed -e 's/listen 127.0.0.1:5400/listen 0.0.0.0:5400/' "$peers/nginx-file.conf" >"$T/nginx.conf"
/usr/sbin/nginx -e "$T/error.log" -p "$T" -c "$T/nginx.conf" &
nginx=$!
pids+=("$nginx")
until curl -fsS -o "$T/again" "http://$others:5400$layer" 2>/dev/null; do sleep 0.1; done
cmp "$T/layer" "$T/again"

# cpu PID: the milliseconds of processor that it and its children have used.
cpu() {
  local pid sum=0
  local -a fields
  for pid in "$1" $(pgrep -P "$1" || true); do
    read -ra fields < <(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) || continue
    sum=$((sum + (fields[11] + fields[12]) * 10))
  done
  echo "$sum"
}

# p99 PATH [OPTION…]: in microseconds, of requests one after the other over each of some connections.
p99() {
  local path=$1
  shift
  "$bin/bench-load" -c $clients -t "$seconds" "$@" "http://$others:$port$path" >"$T/load" || {
    cat "$T/load" >&2
    exit 1
  }
  awk '/^whole_p99_us/ { print $2 }' "$T/load"
}

open_connections() {
  ss -Htn state established "src $hostile and sport = :$port" | wc -l
}

times() {
  awk "BEGIN { printf \"%.2f\", $1 / $2 }"
}

worst=0
declare -A normal paths=([manifest]=$manifest [layer]=$layer)
# row NAME: what the others see now, and what of a core the server uses for so many requests, and the attacker.
row() {
  local key value used attacker_used cells=""
  for key in manifest layer; do
    value=$(p99 "${paths[$key]}")
    [ "$1" != "a busy core" ] || normal[$key]=$value
    cells+=" $value ($(times "$value" "${normal[$key]}")) |"
    [ "$name" != larder ] || [ "$value" -le $((2 * normal[$key])) ] || worst=1
  done
  used=$(cpu "$server") attacker_used=$(cpu "$attacker")
  p99 "$manifest" -r $rate >/dev/null
  used=$((($(cpu "$server") - used) / seconds / 10)) attacker_used=$((($(cpu "$attacker") - attacker_used) / seconds / 10))
  echo "| $name, $1 | $opened, $(open_connections) |$cells $used, $attacker_used |"
}

# It may be through.
stop_attacker() {
  kill "$attacker" 2>/dev/null || true
  wait "$attacker" 2>/dev/null || true
}

# attack NAME OPTION…
attack() {
  local what=$1
  shift
  taskset -c $attackers_core slowhttptest -c $connections -r 500 -l 600 -v 0 "$@" >"$T/attack.log" 2>&1 </dev/null &
  attacker=$!
  pids+=("$attacker")
  sleep 4
  opened=$(open_connections)
  row "$what"
  stop_attacker
}

# all NAME PID PORT
all() {
  name=$1 server=$2 port=$3 opened=0
  taskset -c $attackers_core bash -c 'while :; do :; done' &
  attacker=$!
  pids+=("$attacker")
  row "a busy core"
  stop_attacker
  attack "slow headers" -H -i 10 -x 24 -t GET -u "http://$hostile:$port/v2/"
  attack "slow bodies" -B -i 10 -s 8192 -x 10 -t POST -u "http://$hostile:$port/v2/team/app/blobs/uploads/"
  attack "slow reads" -X -n 5 -w 512 -y 1024 -z 32 -k 3 -u "http://$hostile:$port$layer"
  attack "ranges" -R -a 5 -b 3000 -t HEAD -u "http://$hostile:$port$layer"
}

echo "| server, and meanwhile | hostile connections, at first and at last | manifest p99, µs (of normal) | 1 MiB p99 |" \
  "% of a core at $((clients * rate)) manifests a second: server, attacker |"
echo "|---|---|---|---|---|"
all larder "$larder" 5100
all nginx "$nginx" 5400
exit $worst
