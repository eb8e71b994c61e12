# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the benchmarks share: a network namespace of their own, a build of one commit, servers that are waited for and
# stopped by pid, and measuring. Sourced by bench/run, bench/peers/run, and by those that are run by hand.
#
# A measurement is one line of six tab-separated fields: scenario, case, server, round, metric, value. The metric
# "failed" says that there is none, and why. What a reader wants is made from those lines by bench/summary.
# shellcheck disable=SC2034 # much is read by those who source this
set -euo pipefail

BENCH_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Builds and the servers' stores: on a disk, like a real store.
BENCH_HOME=${BENCH_HOME:-$BENCH_SOURCE/build/bench}

UPSTREAM_PORT=5900
LARDER_PORT=5100
MAX_CONNECTIONS=8 # larder's default
export PATH=$PATH:/usr/sbin:/sbin
# A proxy set for the machine must not stand between the programs here.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

say() {
  echo "# $*" >&2
}

# die WHY: ends the run, and says so in its results.
die() {
  echo "$(basename "$0"): $*" >&2
  [ -z "${RESULTS:-}" ] || put - larder failed "the run ended here: $(echo "$*" | tr '\t\n' '  ' | cut -c 1-300)"
  exit 1
}

need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null || die "$command is not installed (deploy/install-deps build test bench)"
  done
}

# enter_namespace ARGUMENT…: goes on in a network namespace of its own: its ports are free, nobody's traffic is in the
# way, and its congestion control is reno, because BBR paces loopback to a quarter of its speed. And in a PID namespace:
# nothing outlives the run, and pids are not used again so soon; bash waits for ever for a child whose pid it knows from
# an earlier one.
enter_namespace() {
  if [ -z "${BENCH_NAMESPACE:-}" ]; then
    local flags=-npf
    [ "$(id -u)" = 0 ] || flags=-rnpf
    BENCH_NAMESPACE=yes exec unshare "$flags" --mount-proc --kill-child -- "$0" "$@"
  fi
  ip link set lo up
  sysctl -qw net.ipv4.tcp_congestion_control=reno
  ulimit -n "$(ulimit -Hn)"
}

machine() {
  echo "$(uname -n)-$(nproc)x$(uname -m)"
}

# build_commit REVISION: sets COMMIT, LARDER and UPSTREAM to what that commit builds to, whatever lies in the work tree.
build_commit() {
  local tree
  COMMIT=$(git -C "$BENCH_SOURCE" rev-parse --short=10 "$1^{commit}")
  tree=$BENCH_HOME/commit-$COMMIT
  if [ ! -x "$tree/build/scripted-upstream" ] || [ ! -x "$tree/build/larder" ]; then
    say "building $COMMIT"
    rm -rf "$tree"
    mkdir -p "$tree/source"
    git -C "$BENCH_SOURCE" archive "$COMMIT" | tar -x -C "$tree/source"
    cmake -G Ninja -S "$tree/source" -B "$tree/build" >"$tree/log" || die "cannot configure $COMMIT: $tree/log"
    ninja -C "$tree/build" larder scripted-upstream >>"$tree/log" || die "cannot build $COMMIT: $tree/log"
  fi
  LARDER=$tree/build/larder
  UPSTREAM=$tree/build/scripted-upstream
}

# use_binary PATH: measures this larder instead; results are named by what it is, since nobody can say of which commit.
use_binary() {
  [ -x "$1" ] || die "$1 is no program"
  LARDER=$(readlink -f "$1")
  COMMIT=binary-$(sha256sum "$LARDER" | cut -c 1-10)
}

# use_build DIRECTORY: measures what is built there.
use_build() {
  if [ ! -x "$1/larder" ] || [ ! -x "$1/scripted-upstream" ]; then
    die "$1 has no larder and scripted-upstream"
  fi
  LARDER=$(readlink -f "$1/larder")
  UPSTREAM=$(readlink -f "$1/scripted-upstream")
}

# build_tool NAME SOURCE…: one of the C programs here, into BENCH_HOME.
build_tool() {
  local tool=$BENCH_HOME/$1 source newer=
  shift
  for source in "$@"; do
    [ "$tool" -nt "$BENCH_SOURCE/$source" ] || newer=yes
  done
  [ -n "$newer" ] || return 0
  mkdir -p "$BENCH_HOME"
  (cd "$BENCH_SOURCE" && "${CC:-cc}" -std=gnu17 -O2 -g -D_GNU_SOURCE -I. -o "$tool" "$@" -pthread)
}

build_tools() {
  build_tool load bench/load.c base/buf.c base/clock.c
  build_tool first bench/first.c base/clock.c
  LOAD=$BENCH_HOME/load
  FIRST=$BENCH_HOME/first
}

# Results.

# results_open LABEL: a file that did not exist before.
results_open() {
  local folder=$BENCH_SOURCE/bench/results number=1
  mkdir -p "$folder"
  set -o noclobber
  until RESULTS=$folder/$COMMIT-$(machine)-$1-$number.tsv && : 2>/dev/null >"$RESULTS"; do
    number=$((number + 1))
    [ "$number" -le 999 ] || die "cannot write below $folder"
  done
  set +o noclobber
  {
    echo "# SPDX-License-Identifier: Apache-2.0"
    echo "# commit $COMMIT, $(machine), $(uname -sr), $(date -u +%Y-%m-%dT%H:%M:%SZ), load $(cut -d' ' -f1 /proc/loadavg)"
    echo "# $(grep -m1 '^model name' /proc/cpuinfo | cut -d: -f2- | xargs); $(free -g | awk '/^Mem/ {print $2}') GiB"
    printf 'scenario\tcase\tserver\tround\tmetric\tvalue\n'
  } >>"$RESULTS"
}

# put CASE SERVER METRIC VALUE: one measurement of SCENARIO in ROUND.
put() {
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$SCENARIO" "$1" "$2" "$ROUND" "$3" "$4" >>"$RESULTS"
}

INCOMPLETE=
# failed CASE SERVER WHY: of larder or the direct way it makes the run incomplete; of a rival it is a result.
failed() {
  put "$1" "$2" failed "$3"
  say "$SCENARIO $1 $2 round $ROUND FAILED: $3"
  case $2 in larder* | direct | limit) INCOMPLETE=yes ;; esac
}

# Servers.

declare -A pids=()

work_open() {
  mkdir -p "$BENCH_HOME"
  W=$(mktemp -d "$BENCH_HOME/work.XXXXXX")
  trap work_close EXIT
  trap 'exit 130' INT TERM
}

work_close() {
  local name
  for name in "${!pids[@]}"; do
    stop "$name"
  done
  if [ -n "${BENCH_KEEP:-}" ]; then
    say "kept $W"
  else
    rm -rf "$W"
  fi
}

# start NAME COMMAND…: runs a server, its output in NAME.log.
start() {
  local name=$1
  shift
  # What an earlier server of this name has said must not be taken for this one's.
  : >"$W/$name.log"
  "$@" >>"$W/$name.log" 2>&1 </dev/null &
  pids[$name]=$!
}

gone() {
  ! kill -0 "$1" 2>/dev/null
}

# pause SECONDS: without a process.
exec {silence}<> <(:)
pause() {
  read -rt "$1" -u "$silence" || true
}

# wait_for SECONDS WHAT COMMAND…: polls until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    if [ "$SECONDS" -gt "$deadline" ]; then
      say "$what did not happen in time"
      return 1
    fi
    pause 0.01
  done
}

stop() {
  local pid=${pids[$1]:-}
  [ -n "$pid" ] || return 0
  unset "pids[$1]"
  kill -TERM "$pid" 2>/dev/null || return 0
  kill -CONT "$pid" 2>/dev/null || true # one that SIGSTOP holds does not hear of it
  wait_for 30 "the end of $1" gone "$pid" || kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
}

# Of the servers that are measured; https for those of the TLS row.
SCHEME=http
answers() {
  curl -fsk -o /dev/null --max-time 2 "$SCHEME://127.0.0.1:$1$2"
}

# await NAME PORT PATH: until the server answers there.
await() {
  wait_for 20 "the first answer of $1" answers "$2" "$3" || {
    tail -n 5 "$W/$1.log" >&2
    return 1
  }
}

upstream_listens() {
  grep -qs '"url"' "$W/$1.log"
}

# start_upstream OPTION…: the scripted upstream. What it holds is printed in upstream.log, as JSON lines.
start_upstream() {
  stop upstream
  start upstream "$UPSTREAM" --listen "127.0.0.1:$UPSTREAM_PORT" "$@"
  wait_for 120 "the upstream" upstream_listens upstream || die "no upstream: $(tail -n 3 "$W/upstream.log")"
}

# blob NUMBER / manifest NAME:TAG: a digest that the upstream told of; blobs count from 1.
blob() {
  jq -rs --argjson n "$1" '[.[] | select(.blob)][$n - 1].blob' "$W/upstream.log"
}

manifest() {
  jq -r --arg image "$1" 'select(.image == $image).manifest' "$W/upstream.log"
}

upstream_reports() {
  [ "$(grep -c '"body_bytes"' "$W/upstream.log")" -gt "$1" ]
}

# upstream_counters: sets UP_REQUESTS, UP_CONNECTIONS and UP_BYTES.
upstream_counters() {
  local before
  before=$(grep -c '"body_bytes"' "$W/upstream.log" || true)
  kill -USR1 "${pids[upstream]}"
  wait_for 20 "the upstream's report" upstream_reports "$before"
  read -r UP_REQUESTS UP_CONNECTIONS UP_BYTES < <(grep '"body_bytes"' "$W/upstream.log" | tail -n 1 |
    jq -r '[.requests, .connections, .body_bytes] | join(" ")')
}

upstream_rests() {
  local bytes=$UP_BYTES requests=$UP_REQUESTS
  pause 0.15
  upstream_counters
  [ "$bytes" = "$UP_BYTES" ] && [ "$requests" = "$UP_REQUESTS" ]
}

# settle: waits until nothing is fetched any more. Some fetch on, or once more, behind the answer; that is theirs, and
# would be in the way of the next.
settle() {
  upstream_counters
  wait_for 120 "the end of all transfers" upstream_rests || true
}

# make_certificate: cert.pem and key.pem in W.
make_certificate() {
  need openssl
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$W/key.pem" -out "$W/cert.pem" 2>/dev/null
  chmod 644 "$W/key.pem"
}

larder_config() {
  [ "$SCHEME" = http ] || echo "tls: { cert: $W/cert.pem, key: $W/key.pem }"
  cat <<YAML
listen: 127.0.0.1:$LARDER_PORT
store: { path: $1, min_free: 0 }
default_upstream: origin
upstreams:
  origin: { url: "http://127.0.0.1:$UPSTREAM_PORT", tag_ttl: ${TAG_TTL:-1h}, max_connections: $MAX_CONNECTIONS }
layers: { index: ${INDEX_LAYERS:-on_need} }
YAML
}

# start_larder [STORE]: with its log on, as it comes, in a file.
# shellcheck disable=SC2120 # peers/run names a store
start_larder() {
  local store=${1:-$W/store}
  stop larder
  larder_config "$store" >"$W/larder.yaml"
  start larder "$LARDER" serve -c "$W/larder.yaml"
  await larder "$LARDER_PORT" /v2/ || die "larder does not start"
}

# start_larder_cold: with an empty store, and a connection to the upstream that has seen a small blob.
start_larder_cold() {
  stop larder
  rm -rf "$W/store"
  start_larder
  curl -fsS -o /dev/null "http://127.0.0.1:$LARDER_PORT/v2/bench/warm/blobs/$(blob 1)" ||
    die "larder cannot be warmed: $(tail -n 3 "$W/larder.log")"
}

# Measuring.

# family PID: it and its descendants.
family() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v root="$1" '
    { pid = $1; sub(/.*\) /, ""); parent[pid] = $2 }
    END {
      for (pid in parent)
        for (up = pid; up > 0; up = parent[up])
          if (up == root) {
            print pid
            break
          }
    }'
}

# cpu_ns NAME: nanoseconds on a processor, of all threads of a server, ended ones included (/proc/PID/task would forget
# those of a pool that shrinks); to a hundredth of a second.
cpu_ns() {
  local pid
  for pid in $(family "${pids[$1]}"); do
    cat "/proc/$pid/stat" 2>/dev/null || true
  done | awk -v ticks="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); sum += $12 + $13 } END { printf "%.0f\n", sum / ticks * 1e9 }'
}

# memory_kib NAME VmRSS|VmHWM: resident now, or at its most since memory_reset.
memory_kib() {
  local pid
  for pid in $(family "${pids[$1]}"); do
    cat "/proc/$pid/status" 2>/dev/null || true
  done | awk -v key="$2:" '$1 == key { sum += $2 } END { print sum + 0 }'
}

memory_reset() {
  local pid
  for pid in $(family "${pids[$1]}"); do
    echo 5 >"/proc/$pid/clear_refs" 2>/dev/null || true
  done
}

put_memory() {
  put "$1" "$2" "$3" "$(awk -v kib="$4" 'BEGIN { printf "%.2f\n", kib / 1024 }')"
}

# account_open PROCESS, account_close CASE SERVER PROCESS: puts what the server took in between, and what was asked of the
# upstream; CPU_NS is its processor time. With SETTLE what it does behind its answers counts.
declare -A before=()
account_open() {
  upstream_counters
  before=([requests]=$UP_REQUESTS [connections]=$UP_CONNECTIONS [bytes]=$UP_BYTES)
  memory_reset "$1"
  before[cpu]=$(cpu_ns "$1")
}

account_close() {
  [ -z "${SETTLE:-}" ] || settle
  CPU_NS=$(($(cpu_ns "$3") - before[cpu]))
  upstream_counters
  put "$1" "$2" cpu_s "$(awk -v ns="$CPU_NS" 'BEGIN { printf "%.4f\n", ns / 1e9 }')"
  put_memory "$1" "$2" peak_mib "$(memory_kib "$3" VmHWM)"
  put "$1" "$2" upstream_requests $((UP_REQUESTS - before[requests]))
  put "$1" "$2" upstream_connections $((UP_CONNECTIONS - before[connections]))
  put_memory "$1" "$2" upstream_mib $(((UP_BYTES - before[bytes]) / 1024))
}

# put_rate CASE SERVER BYTES US: how fast so many bytes came, and at what cost.
put_rate() {
  put "$1" "$2" gb_s "$(awk -v us="$4" -v n="$3" 'BEGIN { printf "%.4f\n", n / us / 1e3 }')"
  put "$1" "$2" cpu_s_gib "$(awk -v ns="$CPU_NS" -v n="$3" 'BEGIN { printf "%.4f\n", ns / 1e9 / (n / 1073741824) }')"
}

# measure CASE SERVER PROCESS LOAD-ARGUMENT…: runs bench/load once against a server that runs as PROCESS, and puts what
# it said, what the server took, and what it asked of the upstream. measure_cold does so where something is fetched: what
# the server does behind the answer counts.
measure_cold() {
  SETTLE=yes measure "$@"
}

declare -A got=()
measure() {
  local case=$1 server=$2 process=$3 name value metric
  shift 3
  account_open "$process"
  if ! "$LOAD" "$@" >"$W/load.out" 2>"$W/load.err"; then
    failed "$case" "$server" "$(head -n 1 "$W/load.err" | cut -c 1-200)$(awk '/^errors/ {print ", " $2 " errors"}' "$W/load.out")"
    return 0
  fi
  account_close "$case" "$server" "$process"
  got=()
  while read -r name value; do
    got[$name]=$value
  done <"$W/load.out"
  while read -r metric value; do
    put "$case" "$server" "$metric" "$value"
  done < <(awk -v seconds="${got[seconds]}" -v requests="${got[requests]}" -v cpu="$CPU_NS" 'BEGIN {
      printf "seconds %.4f\nrate %.1f\ncpu_us_request %.2f\n", seconds, requests / seconds, cpu / 1e3 / requests
    }')
  [ "${got[bytes]}" -le $((got[requests] * 1000000)) ] ||
    put_rate "$case" "$server" "${got[bytes]}" "$(awk -v s="${got[seconds]}" 'BEGIN { printf "%d\n", s * 1e6 }')"
  for name in first_p50 first_max whole_p50 whole_p99 whole_max; do
    put "$case" "$server" "${name}_ms" "$(awk -v us="${got[${name}_us]}" 'BEGIN { printf "%.3f\n", us / 1000 }')"
  done
}

# timed CASE SERVER PROCESS COMMAND…: how long a command takes that asks the server (TOOK_US), what the server takes for
# it, and what it asks of the upstream. False when the command fails.
timed() {
  local case=$1 server=$2 process=$3 began
  shift 3
  account_open "$process"
  began=${EPOCHREALTIME/./}
  if ! "$@" >"$W/timed.log" 2>&1; then
    failed "$case" "$server" "$1: $(tail -n 1 "$W/timed.log" | tail -c 200)"
    return 1
  fi
  TOOK_US=$((${EPOCHREALTIME/./} - began))
  account_close "$case" "$server" "$process"
  put "$case" "$server" seconds "$(awk -v us="$TOOK_US" 'BEGIN { printf "%.4f\n", us / 1e6 }')"
}

# curls CLIENTS URL: so many side by side.
curls() {
  local i wrong=0 running=()
  for ((i = 0; i < $1; i++)); do
    curl -fsSk -o /dev/null --tls13-ciphers TLS_AES_128_GCM_SHA256 "$2" &
    running+=($!)
  done
  for i in "${running[@]}"; do
    wait "$i" || wrong=1
  done
  return "$wrong"
}

# measure_tls CASE SERVER PROCESS CLIENTS BYTES URL: curl is most of the cost: compare only with what it does with another
# server.
measure_tls() {
  timed "$1" "$2" "$3" curls "$4" "$6" || return 0
  put_rate "$1" "$2" $(($4 * $5)) "$TOOK_US"
}

# pull CASE SERVER PROCESS PORT NAME:TAG: an image, by skopeo.
pull() {
  rm -rf "$W/pulled"
  SETTLE=yes timed "$1" "$2" "$3" timeout 120 skopeo copy -q --src-tls-verify=false "docker://127.0.0.1:$4/$5" \
    "dir:$W/pulled" || true
}
