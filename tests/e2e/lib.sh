# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the tests with real clients share: a folder of their own, services that are waited for and stopped by pid, a real
# registry with a real image in it, larder in front of it, and the comparison of what came through with what the
# registry holds.
#
# A test sources this file; everything it starts and writes is gone when it ends. In the environment, as ctest sets it:
#   LARDER       the program under test
#   E2E_CACHE    a folder that outlives the test, for the image that all tests pull
set -euo pipefail

: "${LARDER:?is the larder binary to test}"
: "${E2E_CACHE:?is a folder that outlives the test}"

# A client that hangs is ended, with the test and all it started, early enough to show the logs; ctest would kill without.
if [ -z "${E2E_WATCHED:-}" ]; then
  E2E_WATCHED=yes exec timeout --kill-after=60 "${E2E_SECONDS:-240}" bash "$0" "$@"
fi

E2E_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# The clients are Debian's: another docker in /usr/local would be another test.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin:$PATH
# A proxy set for the machine must not stand between the clients and loopback.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

# Unix sockets need short paths, so not the build tree.
T=$(mktemp -d "${TMPDIR:-/tmp}/larder-e2e.XXXXXX")
export HOME=$T/home
mkdir -p "$HOME" "$T/truth"
# Not the machine's own /etc/larder/larder.yaml.
export LARDER_CONFIG=$T/empty.yaml
echo '{}' >"$LARDER_CONFIG"

# The image's name is found nowhere else, so that no client can get it past larder.
REPOSITORY=library/larder-e2e

declare -A pids=()
started=()

say() {
  echo "# $*"
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

skip() {
  echo "SKIPPED: $*"
  exit 77
}

# need COMMAND…: tests/run installs them all; a developer's machine may lack some.
need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null || skip "$command is not installed (deploy/install-deps test)"
  done
}

# need_unpacking: docker and podman unpack layers below a root of their own, for which they want to be root, and / a
# mount point; in a chroot it is none, unless the folder was bound to itself before.
need_unpacking() {
  [ "$(id -u)" = 0 ] || skip "unpacking layers needs root"
  awk '$5 == "/" { found = 1 } END { exit !found }' /proc/self/mountinfo ||
    skip "/ is no mount point, as in a bare chroot"
}

# need_daemons: they want root and cgroups.
need_daemons() {
  [ "$(id -u)" = 0 ] || skip "a container daemon needs root"
  grep -q ' /sys/fs/cgroup' /proc/self/mounts || skip "a container daemon needs cgroups mounted"
}

show_logs() {
  local log
  for log in "$T"/*.log; do
    [ -s "$log" ] || continue
    echo "--- the end of ${log##*/}" >&2
    tail -n 20 "$log" | cut -c 1-400 >&2
  done
}

# ended PID: true when a child is gone. bash reaps its children, so their pid does not linger.
ended() {
  ! kill -0 "$1" 2>/dev/null
}

# wait_for SECONDS WHAT COMMAND…: polls until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -le "$deadline" ] || fail "$what did not happen in time"
    sleep 0.02
  done
}

service_ended() {
  ended "${pids[$1]}"
}

# start NAME COMMAND…: runs a service, its output in NAME.log.
start() {
  local name=$1
  shift
  # What an earlier service of this name has said must not be taken for this one's.
  : >"$T/$name.log"
  "$@" >"$T/$name.log" 2>&1 </dev/null &
  pids[$name]=$!
  started+=("$name")
}

# collect NAME [SECONDS]: waits for the end of a service and sets STATUS to its exit status.
collect() {
  local pid=${pids[$1]}
  wait_for "${2:-30}" "the end of $1" ended "$pid"
  STATUS=0
  # shellcheck disable=SC2034 # read by the tests
  wait "$pid" || STATUS=$?
  unset "pids[$1]"
}

# stop NAME [SECONDS]: ends a service by SIGTERM.
stop() {
  kill -TERM "${pids[$1]}" 2>/dev/null || true
  collect "$@"
}

ready_or_dead() {
  grep -q -- "$2" "$T/$1.log" || service_ended "$1"
}

# wait_log NAME PATTERN: until the service has said so; fails when it ends instead.
wait_log() {
  wait_for 30 "'$2' in $1.log" ready_or_dead "$1" "$2"
  grep -q -- "$2" "$T/$1.log" || {
    collect "$1"
    fail "$1 ended with status $STATUS instead of saying '$2'"
  }
}

# port_of NAME: the port that a service said it listens on.
port_of() {
  sed -n 's/.*listening on 127\.0\.0\.1:\([0-9][0-9]*\).*/\1/p' "$T/$1.log" | head -n 1
}

# free_port: for the few servers that cannot pick one by themselves.
free_port() {
  perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport, "\n"'
}

cleanup() {
  local status=$? name pid i
  trap - EXIT INT TERM
  set +e
  [ "$status" = 0 ] || [ "$status" = 77 ] || show_logs
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    name=${started[i]}
    pid=${pids[$name]:-}
    [ -n "$pid" ] || continue
    kill -TERM "$pid" 2>/dev/null
    for _ in {1..500}; do
      ended "$pid" && break
      sleep 0.02
    done
    kill -KILL "$pid" 2>/dev/null
  done
  # Container storage leaves mounts behind; the last one mounted goes first.
  awk -v top="$T/" 'index($2, top) == 1 { print $2 }' /proc/self/mounts | tac | xargs -r -n 1 umount -l
  rm -rf -- "$T"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# shellcheck source=tests/e2e/image.sh
source "$E2E_SOURCE/tests/e2e/image.sh"
# shellcheck source=tests/e2e/registry.sh
source "$E2E_SOURCE/tests/e2e/registry.sh"
# shellcheck source=tests/e2e/clients.sh
source "$E2E_SOURCE/tests/e2e/clients.sh"

# start_larder NAME OPTION…: on LARDER_AT (127.0.0.1:PORT).
start_larder() {
  local name=$1
  shift
  start "$name" "$LARDER" serve --listen 127.0.0.1:0 "$@"
  wait_log "$name" 'listening on '
  LARDER_AT=127.0.0.1:$(port_of "$name")
}

# start_side NAME OPTION…: a larder with a store and an admin socket of its own; its address is at[NAME].
declare -A at=()
start_side() {
  local side=$1
  shift
  start_larder "$side" --store "$T/$side" --admin "unix:$T/$side.sock" "$@"
  # shellcheck disable=SC2034 # read by the tests
  at[$side]=$LARDER_AT
}

# on NAME COMMAND…: a command to the larder of that name.
on() {
  local side=$1
  shift
  LARDER_ADMIN=unix:$T/$side.sock "$LARDER" "$@"
}

# start_larder_for plain|nginx|nghttpx: larder as docker.io's mirror, with the registry right behind it or behind a TLS
# front.
start_larder_for() {
  if [ "$1" = plain ]; then
    start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY"
    return
  fi
  start_front "$1"
  cat >"$T/larder.yaml" <<END
store: { path: $T/store }
upstreams:
  docker.io: { url: $FRONT, ca: $T/ca.pem }
END
  start_larder larder -c "$T/larder.yaml"
}

# client_config FILE: one of deploy/clients, with this larder's address in place of the default one.
client_config() {
  grep -q '127\.0\.0\.1:5000' "$E2E_SOURCE/deploy/clients/$1" || fail "deploy/clients/$1 does not name 127.0.0.1:5000"
  sed "s/127\.0\.0\.1:5000/$LARDER_AT/g" "$E2E_SOURCE/deploy/clients/$1"
}

# stop_upstream: the registry, and the front if there is one.
stop_upstream() {
  [ -z "${pids[front]:-}" ] || stop front
  stop registry
  ! curl -s -o /dev/null "http://$REGISTRY/v2/" || fail "the registry still answers"
}

content_type() {
  sed -n 's/^content-type: *//Ip' "$1" | tr -d '\r'
}

# expect_manifest BASE REFERENCE DIGEST: a manifest comes with the registry's bytes, digest and type.
expect_manifest() {
  fetch_manifest "$1" "$2" "$T/got"
  cmp "$T/got" "$(truth "$3")"
  grep -qi "^docker-content-digest: $3" "$T/got.head" || fail "a wrong digest in the headers of $2"
  [ "$(content_type "$T/got.head")" = "$(content_type "$(truth "$3").head")" ] || fail "another Content-Type for $2"
}

# expect_served_by_larder TAG [MANIFEST-DIGEST…]: with curl, byte for byte, the tag, the manifests and their blobs, as
# the registry held them; without digests, all that the tag leads to.
expect_served_by_larder() {
  local base=http://$LARDER_AT/v2/$REPOSITORY digest blob
  expect_manifest "$base" "$1" "$MANIFEST"
  shift
  [ $# -gt 0 ] || set -- "${MANIFESTS[@]}"
  for digest in "$@"; do
    expect_manifest "$base" "$digest" "$digest"
    for blob in $(blobs_of "$digest"); do
      curl -fsS -o "$T/got" "$base/blobs/$blob"
      cmp "$T/got" "$(truth "$blob")"
    done
  done
}

# requests_for DIGEST: how many requests for it larder has logged.
requests_for() {
  grep -c -- "GET.*${1#*:}" "$T/larder.log" || true
}

# note_requests / expect_new_requests MANIFEST-DIGEST: every blob of the image came from larder again, not from what the
# client kept.
declare -A noted=()
note_requests() {
  local digest
  for digest in $(blobs_of "$1"); do
    noted[$digest]=$(requests_for "$digest")
  done
}

expect_new_requests() {
  local digest
  for digest in $(blobs_of "$1"); do
    [ "$(requests_for "$digest")" -gt "${noted[$digest]:-0}" ] || fail "the client did not ask larder for $digest"
  done
}
