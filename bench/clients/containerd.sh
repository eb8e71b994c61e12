#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How long containerd 2.1, which fetches a blob in parallel by open-ended ranges, takes for a cold layer of SIZE MiB (512)
# from a registry that sends 100 MiB/s in all: in turn directly, and through a larder with an empty store. What is timed
# ends when containerd has the layer; unpacking takes as long either way.
#   bench/clients/containerd.sh BUILD-DIRECTORY [SIZE [ROUNDS]]
# Wants root, and the folder of newer clients that tests/e2e/newer-clients makes.
bin=$(cd "${1:?the build directory with larder and scripted-upstream}" && pwd)
size=${2:-512}
rounds=${3:-5}
set --
export LARDER=$bin/larder E2E_CACHE=$bin E2E_WATCHED=yes
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tests/e2e/lib.sh"
# shellcheck source=tests/e2e/newer.sh
source "$E2E_SOURCE/tests/e2e/newer.sh"
need_suite sid
image=docker.io/$REPOSITORY:large

head -c "${size}M" /dev/urandom >"$T/random"
tar -C "$T" -cf "$T/layer.tar" random
digest=$(sha256sum "$T/layer.tar" | cut -d ' ' -f 1)
start upstream "$bin/scripted-upstream" --total-rate 100M --layer "$REPOSITORY:large:$T/layer.tar"
wait_log upstream http://
registry=$(grep -o 'http://[0-9.:]*' "$T/upstream.log" | head -n 1)
start_containerd

# count NAME: one of the registry's counters, as it is now.
count() {
  local lines
  lines=$(wc -l <"$T/upstream.log")
  kill -USR1 "${pids[upstream]}"
  while [ "$(wc -l <"$T/upstream.log")" = "$lines" ]; do sleep 0.02; done
  tail -n 1 "$T/upstream.log" | jq ".$1"
}

has_layer() {
  [ -e "$T/containerd/io.containerd.content.v1.content/blobs/sha256/$digest" ]
}

# pull WHAT URL: pulls the image, tells what it took, and sets `took`.
pull() {
  local before began
  mkdir -p "$T/hosts/docker.io"
  printf 'server = "%s"\n[host."%s"]\n  capabilities = ["pull", "resolve"]\n' "$2" "$2" >"$T/hosts/docker.io/hosts.toml"
  before=$(count body_bytes)
  began=$EPOCHREALTIME
  ctr_cli images pull --hosts-dir "$T/hosts" --snapshotter native "$image" >"$T/pull.log" 2>&1 &
  pids[pull]=$!
  until has_layer; do
    sleep 0.01
    ! ended "${pids[pull]}" || has_layer || fail "the pull ended without the layer: $(tail -n 1 "$T/pull.log")"
  done
  took=$(awk -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN { printf "%.3f", ended - began }')
  collect pull 120
  [ "$STATUS" = 0 ] || fail "the pull failed: $(tail -n 1 "$T/pull.log")"
  containerd_remove "$image"
  printf '%-8s %s s, %s of the layer from the registry\n' "$1" "$took" \
    "$(awk -v sent="$(($(count body_bytes) - before))" -v size="$(stat -c %s "$T/layer.tar")" 'BEGIN { printf "%.4f", sent / size }')"
}

for ((i = 1; i <= rounds; i++)); do
  pull direct "$registry"
  direct=$took
  start_larder larder --store "$T/store" --upstream "docker.io=$registry"
  pull larder "http://$LARDER_AT"
  echo "round $i: $(awk -v a="$took" -v b="$direct" 'BEGIN { printf "%.3f", a / b }') of direct, in" \
    "$(grep -c "blobs/sha256:$digest" "$T/larder.log") requests of containerd"
  stop larder
  rm -rf "$T/store"
done
