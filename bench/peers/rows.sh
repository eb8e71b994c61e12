# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The rows of the comparison. ROW_begin starts what all rounds share, ROW_round measures each server once, one after the
# other. Sourced by bench/peers/run.
# shellcheck disable=SC2034,SC2154 # it shares variables with servers.sh and run

ACCEPT='Accept: application/vnd.oci.image.manifest.v1+json'
SHAPED=(--total-rate 50M)
CACHES=(larder registry nginx-cache varnish)

# row | work | headline metric
ROWS=(
  "blob|stored blob of 1 GiB, 1 and 8 clients|gb_s"
  "tls|stored blob of 1 GiB over TLS 1.3 with AES-128-GCM, 1 and 4 clients|gb_s"
  "manifest|manifest by digest, 32 and 256 connections|rate"
  "head|HEAD of a tag that is fresh, 32 and 256 connections|rate"
  "inflight|8 readers of a blob in flight, upstream unshaped|gb_s"
  "cold|cold blob of 256 MiB behind 400 Mbit/s, one client|seconds"
  "herd|cold blob of 64 MiB behind 400 Mbit/s, 16 clients|seconds"
  "image|cold and warm image of ten layers of 20 MiB behind 400 Mbit/s, by skopeo|seconds"
  "memory|resident memory, idle, with 256 busy connections, with 2,000|peak_mib"
  "start|start to first answer|first_answer_ms"
)

url() {
  echo "$SCHEME://127.0.0.1:${port[$1]}$2"
}

# begin SERVER…: starts those that can be; RUNNING are the ones that were.
begin() {
  local server
  RUNNING=()
  for server in "$@"; do
    if ! command_exists "$server"; then
      failed - "$server" "is not installed"
    elif start_server "$server"; then
      RUNNING+=("$server")
    else
      failed - "$server" "does not start"
    fi
  done
}

command_exists() {
  case $1 in
    larder) return 0 ;;
    registry) command -v docker-registry >/dev/null ;;
    nginx-*) command -v nginx >/dev/null ;;
    varnish) command -v varnishd >/dev/null ;;
  esac
}

# fill PATH DIGEST: each running server gets it, and shows that its bytes are right.
fill() {
  local server sum
  give_file "$1"
  for server in "${RUNNING[@]}"; do
    sum=$(curl -fsk --max-time 60 -H "$ACCEPT" "$(url "$server" "$1")" | sha256sum | cut -d' ' -f1) || true
    [ "sha256:$sum" = "$2" ] || failed - "$server" "wrong bytes of $1"
  done
}

# process SERVER: whose processor time and memory count.
process() {
  if [ "$1" = direct ]; then
    echo upstream
  else
    echo "$1"
  fi
}

# each CASE PATH LOAD-ARGUMENT…: every running server in turn.
each() {
  local case=$1 path=$2 server
  shift 2
  for server in "${RUNNING[@]}"; do
    measure "$case" "$server" "$(process "$server")" "$@" "$(url "$server" "$path")"
  done
}

each_cold() {
  SETTLE=yes each "$@"
}

blob_begin() {
  start_upstream --blob 1:1G
  begin larder nginx-file registry nginx-cache varnish
  BLOB=/v2/bench/blob/blobs/$(blob 1)
  fill "$BLOB" "$(blob 1)"
}

blob_round() {
  each 1GiB-1 "$BLOB" -n 4
  each 1GiB-8 "$BLOB" -c 8
}

tls_begin() {
  make_certificate
  start_upstream --blob 1:1G
  SCHEME=https
  begin larder nginx-tls
  BLOB=/v2/bench/blob/blobs/$(blob 1)
  fill "$BLOB" "$(blob 1)"
}

tls_round() {
  local clients server
  for clients in 1 4; do
    for server in "${RUNNING[@]}"; do
      measure_tls "1GiB-$clients" "$server" "$server" "$clients" 1073741824 "$(url "$server" "$BLOB")"
    done
  done
}

manifest_begin() {
  start_upstream --image bench/image:v1:4:1M
  begin larder nginx-file registry nginx-cache varnish
  IMAGE=$(manifest bench/image:v1)
  fill "/v2/bench/image/manifests/$IMAGE" "$IMAGE"
  fill /v2/bench/image/manifests/v1 "$IMAGE"
}

manifest_round() {
  each 32 "/v2/bench/image/manifests/$IMAGE" -c 32 -j 2 -t 2 -H "$ACCEPT"
  each 256 "/v2/bench/image/manifests/$IMAGE" -c 256 -j 2 -t 2 -H "$ACCEPT"
}

head_begin() {
  manifest_begin
}

head_round() {
  each 32 /v2/bench/image/manifests/v1 -c 32 -j 2 -t 2 -X HEAD -H "$ACCEPT"
  each 256 /v2/bench/image/manifests/v1 -c 256 -j 2 -t 2 -X HEAD -H "$ACCEPT"
}

# Each round and server has a blob of its own, of the same size, since all of them must be cold. The first is for the
# connection.
cold_blobs() {
  local i
  printf '%s\n' --blob 1:4K
  for ((i = 0; i < RUNS; i++)); do
    printf '%s\n' --blob "$((i + 2)):$1"
  done
}

cold_begin_with() {
  local size=$1 options
  shift
  mapfile -t options < <(cold_blobs "$size")
  start_upstream "$@" "${options[@]}"
  begin "${CACHES[@]}"
  warm_connections
  RUNNING=(direct "${RUNNING[@]}")
}

warm_connections() {
  local server
  for server in "${RUNNING[@]}"; do
    curl -fs -o /dev/null --max-time 20 "$(url "$server" "/v2/bench/warm/blobs/$(blob 1)")" ||
      failed - "$server" "no answer for the first blob"
  done
}

cold_path() {
  echo "/v2/bench/blob/blobs/$(blob $((ROUND + 1)))"
}

# emptied: what the servers keep is not needed again; a disk that is full of it would be measured too.
emptied() {
  local server
  for server in "${RUNNING[@]}"; do
    [ "$server" = direct ] || start_server "$server"
  done
  sync
  warm_connections
}

inflight_begin() {
  cold_begin_with 1G
}

inflight_round() {
  measure_cold 1GiB-1 direct upstream "$(url direct "$(cold_path)")"
  each_cold 1GiB-8 "$(cold_path)" -c 8
  emptied
}

cold_begin() {
  cold_begin_with 256M "${SHAPED[@]}"
}

cold_round() {
  each_cold 256MiB-1 "$(cold_path)"
}

herd_begin() {
  cold_begin_with 64M "${SHAPED[@]}"
}

herd_round() {
  local server
  measure_cold 64MiB-16 direct upstream "$(url direct "$(cold_path)")"
  for server in "${RUNNING[@]:1}"; do
    measure_cold 64MiB-16 "$server" "$server" -c 16 "$(url "$server" "$(cold_path)")"
  done
}

image_begin() {
  local i images=()
  need skopeo
  for ((i = 1; i <= RUNS; i++)); do
    images+=(--image "bench/image$i:v1:10:20M")
  done
  start_upstream "${SHAPED[@]}" --blob 1:4K "${images[@]}"
  # skopeo tries TLS first, for which Varnish waits 5 s: that would be all that its figure says.
  begin larder registry nginx-cache
  warm_connections
  RUNNING=(direct "${RUNNING[@]}")
}

image_round() {
  local server
  for server in "${RUNNING[@]}"; do
    pull cold-10x20MiB "$server" "$(process "$server")" "${port[$server]}" "bench/image$ROUND:v1"
  done
  for server in "${RUNNING[@]:1}"; do
    pull warm-10x20MiB "$server" "$server" "${port[$server]}" "bench/image$ROUND:v1"
  done
}

memory_begin() {
  start_upstream --blob 1:4K --blob 2:16M --image bench/image:v1:4:1M
  IMAGE=$(manifest bench/image:v1)
}

memory_round() {
  local connections server
  begin larder nginx-file registry nginx-cache varnish
  for server in "${RUNNING[@]}"; do
    put_memory idle "$server" rss_mib "$(memory_kib "$server" VmRSS)"
  done
  fill "/v2/bench/image/manifests/$IMAGE" "$IMAGE"
  fill "/v2/bench/blob/blobs/$(blob 2)" "$(blob 2)"
  for connections in 256 2000; do
    each "manifest-$connections" "/v2/bench/image/manifests/$IMAGE" -c "$connections" -j 2 -t 2 -H "$ACCEPT"
  done
  each blob-256 "/v2/bench/blob/blobs/$(blob 2)" -c 256
}

start_begin() {
  start_upstream --blob 1:4K
}

start_round() {
  local server ms
  for server in larder nginx-file registry nginx-cache varnish; do
    command_exists "$server" || continue
    if [ "$ROUND" = 1 ]; then
      start_server "$server" || true
      stop "$server"
    fi
    command_of "$server"
    if ms=$("$FIRST" "${port[$server]}" /v2/ "${COMMAND[@]}" 2>"$W/first.err"); then
      put first-answer "$server" first_answer_ms "$ms"
    else
      failed first-answer "$server" "$(tail -n 1 "$W/first.err" | cut -c 1-200)"
    fi
  done
}
