# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The scenarios of bench/run: larder alone, one question each. NAME_begin prepares what all rounds share, NAME_round
# measures once. Sourced by bench/run.
# shellcheck disable=SC2034 # much is read there

BASE=http://127.0.0.1:$LARDER_PORT
DIRECT=http://127.0.0.1:$UPSTREAM_PORT
# scripted-upstream's unit is 1024: 400 Mbit/s, and what a link of that speed carries.
SHAPED=(--total-rate 50M)
ACCEPT='Accept: application/vnd.oci.image.manifest.v1+json'

# name | question | headline metric
SCENARIOS=(
  "cold-blob|how much longer than asking directly does a cold blob take, and what does it cost?|seconds"
  "cold-image|how much longer does a cold image take, by a real client?|seconds"
  "herd|do many clients of one cold blob share one transfer?|seconds"
  "warm-blob|how fast does a stored blob go out?|gb_s"
  "warm-manifest|how many manifests a second, by digest?|rate"
  "head-tag|how many HEADs of a fresh tag a second?|rate"
  "tls-blob|how fast does a stored blob go out over TLS?|gb_s"
  "inflight-blob|how fast do readers follow a flight as fast as the machine?|gb_s"
  "bulk-prefetch|how fast are many images fetched ahead, by -J and -j?|seconds"
  "scale|how does all this grow with clients, blobs and the store?|rate"
  "burst|how long do connections wait that are opened all at once?|whole_max_ms"
  "start|how long from start to first answer?|first_answer_ms"
  "fill-index|how much does indexing a layer, BENCH_LAYER, slow its cold pull?|seconds"
  "part-reads|what is fetched of a layer, BENCH_LAYER, for small reads while it is not held?|mib_most"
  "memory|how much memory, idle and busy?|rss_mib"
)

# warm PATH DIGEST: makes larder hold it, and proves that its bytes are right.
warm() {
  local path=$1 digest=$2 sum
  sum=$(curl -fs -H "$ACCEPT" "$BASE$path" | sha256sum | cut -d' ' -f1) || true
  [ "sha256:$sum" = "$digest" ] || die "larder served wrong bytes for $path: $(tail -n 1 "$W/larder.log")"
}

blob_path() {
  echo "/v2/bench/blob/blobs/$(blob "$1")"
}

# cold-blob: seeds 2, 3 and 4, behind the small blob that warms the connection.
cold_blob_begin() {
  :
}

cold_blob_round() {
  start_upstream --blob 1:4K --blob 2:1G
  start_larder_cold
  measure_cold unshaped-1GiB direct upstream "$DIRECT$(blob_path 2)"
  measure_cold unshaped-1GiB larder larder "$BASE$(blob_path 2)"
  start_upstream "${SHAPED[@]}" --blob 1:4K --blob 2:256M
  start_larder_cold
  measure_cold 400Mbit-256MiB direct upstream "$DIRECT$(blob_path 2)"
  measure_cold 400Mbit-256MiB larder larder "$BASE$(blob_path 2)"
  warm "$(blob_path 2)" "$(blob 2)"
}

# cold-image: ten layers by skopeo, whose time has much of its own in it: so its direct time stands beside.
cold_image_begin() {
  need skopeo
}

cold_image_round() {
  start_upstream "${SHAPED[@]}" --blob 1:4K --image bench/image:v1:10:20M
  start_larder_cold
  pull 400Mbit-10x20MiB direct upstream "$UPSTREAM_PORT" bench/image:v1
  pull 400Mbit-10x20MiB larder larder "$LARDER_PORT" bench/image:v1
  pull warm-10x20MiB larder larder "$LARDER_PORT" bench/image:v1
}

herd_begin() {
  :
}

herd_round() {
  local size
  for size in 64M 256M; do
    start_upstream "${SHAPED[@]}" --blob 1:4K --blob "2:$size"
    start_larder_cold
    measure_cold "400Mbit-${size}iB-16" larder larder -c 16 "$BASE$(blob_path 2)"
    measure_cold "400Mbit-${size}iB-16" direct upstream "$DIRECT$(blob_path 2)"
    warm "$(blob_path 2)" "$(blob 2)"
  done
}

warm_blob_begin() {
  start_upstream --blob 1:4K --blob 2:1G
  start_larder_cold
  warm "$(blob_path 2)" "$(blob 2)"
}

warm_blob_round() {
  measure 1GiB-1 larder larder -n 8 "$BASE$(blob_path 2)"
  measure 1GiB-8 larder larder -c 8 -n 2 "$BASE$(blob_path 2)"
}

image_begin() {
  start_upstream --blob 1:4K --image bench/image:v1:4:1M
  start_larder_cold
  warm "/v2/bench/image/manifests/v1" "$(manifest bench/image:v1)"
  warm "/v2/bench/image/manifests/$(manifest bench/image:v1)" "$(manifest bench/image:v1)"
}

warm_manifest_begin() {
  image_begin
}

warm_manifest_round() {
  local connections
  for connections in 32 256; do
    measure "$connections" larder larder -c "$connections" -j 2 -t 3 -H "$ACCEPT" \
      "$BASE/v2/bench/image/manifests/$(manifest bench/image:v1)"
  done
}

head_tag_begin() {
  image_begin
}

head_tag_round() {
  local connections
  for connections in 32 256; do
    measure "$connections" larder larder -c "$connections" -j 2 -t 3 -X HEAD -H "$ACCEPT" \
      "$BASE/v2/bench/image/manifests/v1"
  done
}

tls_blob_begin() {
  make_certificate
  SCHEME=https
  start_upstream --blob 1:4K --blob 2:1G
  start_larder
  curl -fs -o /dev/null --cacert "$W/cert.pem" "https://127.0.0.1:$LARDER_PORT$(blob_path 2)" ||
    die "larder does not serve over TLS: $(tail -n 1 "$W/larder.log")"
}

tls_blob_round() {
  local clients
  for clients in 1 4; do
    measure_tls "1GiB-$clients" larder larder "$clients" 1073741824 "https://127.0.0.1:$LARDER_PORT$(blob_path 2)"
  done
}

# inflight-blob: the upstream gives what it can. Eight readers that ask it directly share what it can send; eight
# through larder are served out of one transfer.
inflight_blob_begin() {
  :
}

inflight_blob_round() {
  start_upstream --blob 1:4K --blob 2:1G
  start_larder_cold
  measure_cold 1GiB-8 direct upstream -c 8 "$DIRECT$(blob_path 2)"
  measure_cold 1GiB-1 direct upstream "$DIRECT$(blob_path 2)"
  measure_cold 1GiB-8 larder larder -c 8 "$BASE$(blob_path 2)"
  start_larder_cold
  measure_cold 1GiB-1 larder larder "$BASE$(blob_path 2)"
}

bulk_prefetch_begin() {
  "$LARDER" --help | grep -q '^ *prefetch ' || {
    SKIPPED="not supported: this larder has no prefetch command"
    return 0
  }
  # As many as are ever asked for at once, and the one that is left to clients.
  MAX_CONNECTIONS=97
  start_upstream --blob 1:4K --images bench/app:12:16:256K --latency 20
}

bulk_prefetch_round() {
  local images layers refs
  mapfile -t refs < <(jq -r 'select(.image).image' "$W/upstream.log")
  for images in 1 3 6; do
    for layers in 1 4 8 16; do
      start_larder_cold
      SETTLE=yes timed "J$images-j$layers" larder larder "$LARDER" prefetch -J "$images" -j "$layers" "${refs[@]}" || true
    done
  done
}

# scale: clients of a manifest, clients of a blob, and the same manifest and a start with more and more held.
scale_begin() {
  need jq
}

scale_round() {
  local clients blobs
  start_upstream --blob 1:4K --blob 2:256M --image bench/image:v1:4:1M --images bench/app:2500:3:4K
  start_larder_cold
  warm "$(blob_path 2)" "$(blob 2)"
  warm "/v2/bench/image/manifests/$(manifest bench/image:v1)" "$(manifest bench/image:v1)"
  for clients in 1 8 64 512 2048; do
    measure "manifest-clients-$clients" larder larder -c "$clients" -j 2 -t 2 -H "$ACCEPT" \
      "$BASE/v2/bench/image/manifests/$(manifest bench/image:v1)"
  done
  for clients in 1 2 4 16 64; do
    measure "blob-clients-$clients" larder larder -c "$clients" -n $((64 / clients)) "$BASE$(blob_path 2)"
  done
  jq -r 'select(.image and (.image | startswith("bench/app"))) | "/v2/\(.image | split(":")[0])/blobs/" + (.config, .layers[])' \
    "$W/upstream.log" >"$W/paths"
  for blobs in 1000 9000; do
    # The first 1,000, then the rest of 10,000.
    { if [ "$blobs" = 1000 ]; then head -n 1000 "$W/paths"; else tail -n +1001 "$W/paths"; fi; } >"$W/some"
    measure_cold "fill-$blobs" larder larder -c 16 -j 1 -n $((blobs / 16)) -u "$W/some" "$BASE/"
    measure "manifest-beside-$((blobs == 1000 ? 1000 : 10000))" larder larder -c 64 -j 2 -t 2 -H "$ACCEPT" \
      "$BASE/v2/bench/image/manifests/$(manifest bench/image:v1)"
    first_answer "start-with-$((blobs == 1000 ? 1000 : 10000))"
    start_larder
  done
}

# burst: many connections at once, each with one request, alone and beside a stored blob that is being sent.
burst_begin() {
  start_upstream --blob 1:4K --blob 2:1G --image bench/image:v1:4:1M
  start_larder_cold
  warm "$(blob_path 2)" "$(blob 2)"
  warm "/v2/bench/image/manifests/$(manifest bench/image:v1)" "$(manifest bench/image:v1)"
}

burst_round() {
  local connections sender
  for connections in 128 256 300 1000; do
    measure "$connections" larder larder -c "$connections" -T 60 "$BASE/v2/"
  done
  for connections in 128 256 300 1000; do
    "$LOAD" -c 4 -t 3 "$BASE$(blob_path 2)" >"$W/beside.out" 2>&1 &
    sender=$!
    wait_for 5 "a blob being sent" sending
    measure "$connections-beside-blobs" larder larder -c "$connections" -T 60 \
      -H "$ACCEPT" "$BASE/v2/bench/image/manifests/$(manifest bench/image:v1)"
    wait "$sender" || failed "$connections-beside-blobs" larder "the blobs beside: $(head -n 1 "$W/beside.out")"
  done
}

# sending: larder has connections that are established.
sending() {
  [ "$(ss -Htn state established "( sport = :$LARDER_PORT )" | wc -l)" -ge 4 ]
}

start_begin() {
  start_upstream --blob 1:4K
  start_larder_cold
}

first_answer() {
  local ms
  stop larder
  larder_config "$W/store" >"$W/larder.yaml"
  if ms=$("$FIRST" "$LARDER_PORT" /v2/ "$LARDER" serve -c "$W/larder.yaml" 2>"$W/first.err"); then
    put "$1" larder first_answer_ms "$ms"
  else
    failed "$1" larder "$(tail -n 1 "$W/first.err" | cut -c 1-200)"
  fi
}

start_round() {
  first_answer small-store
}

memory_begin() {
  :
}

# Resident memory while connections are busy is what it is at the end of them, and its peak.
memory_round() {
  local connections
  start_upstream --blob 1:4K --blob 2:256M --blob 3:64M --image bench/image:v1:4:1M
  start_larder
  put_memory idle larder rss_mib "$(memory_kib larder VmRSS)"
  measure_cold 16-cold-256MiB larder larder -c 16 "$BASE$(blob_path 2)"
  put_memory 16-cold-256MiB larder rss_mib "$(memory_kib larder VmHWM)"
  start_larder_cold
  warm "/v2/bench/image/manifests/$(manifest bench/image:v1)" "$(manifest bench/image:v1)"
  warm "$(blob_path 3)" "$(blob 3)"
  for connections in 256 2000; do
    measure "busy-$connections" larder larder -c "$connections" -j 2 -t 3 -H "$ACCEPT" \
      "$BASE/v2/bench/image/manifests/$(manifest bench/image:v1)"
    put_memory "busy-$connections" larder rss_mib "$(memory_kib larder VmHWM)"
  done
  measure blob-256 larder larder -c 256 "$BASE$(blob_path 3)"
  put_memory blob-256 larder rss_mib "$(memory_kib larder VmHWM)"
}

# need_layer: BENCH_LAYER is a file, a real layer of a GiB or so; tests/e2e/large-image makes one.
need_layer() {
  [ -f "${BENCH_LAYER:-}" ] || SKIPPED="not measured: BENCH_LAYER names no file of a layer (tests/e2e/large-image makes one)"
}

layer_path() {
  echo "/v2/bench/layer/blobs/$(jq -r 'select(.image == "bench/layer:v1").layers[0]' "$W/upstream.log")"
}

ADMIN=http://127.0.0.1:5001
metric() {
  curl -fs "$ADMIN/metrics" | awk -v name="$1" '$1 == name { print $2 }'
}

is_indexed() {
  [ "$(metric 'larder_layers_indexed_total{outcome="made"}')" = 1 ]
}

# fill-index: pulls with and without, in turns, and who is first changes from round to round: what one leaves to be written
# to the disk must not fall to the other. CPU is counted until the index is there.
fill_index_begin() {
  need_layer
}

fill_once() {
  local case=$1 cpu
  INDEX_LAYERS=$2
  start_larder_cold
  sync
  cpu=$(cpu_ns larder)
  measure "$case" "larder-$2" larder "$BASE$(layer_path)"
  [ "$2" = on_need ] || wait_for 60 "the index" is_indexed
  put "$case" "larder-$2" cpu_with_index_s "$(awk -v ns=$(($(cpu_ns larder) - cpu)) 'BEGIN { printf "%.3f\n", ns / 1e9 }')"
  INDEX_LAYERS=
}

fill_both() {
  local modes=(on_need while_filling)
  [ $((ROUND % 2)) = 1 ] || modes=(while_filling on_need)
  fill_once "$1" "${modes[0]}"
  fill_once "$1" "${modes[1]}"
}

fill_index_round() {
  start_upstream "${SHAPED[@]}" --blob 1:4K --layer "bench/layer:v1:$BENCH_LAYER"
  fill_both 400Mbit
  start_upstream --blob 1:4K --layer "bench/layer:v1:$BENCH_LAYER"
  fill_both unshaped
}

# part-reads: the layer is indexed, and lost; 100 places in its files are read, twice; then the whole is pulled.
part_reads_begin() {
  need_layer
}

# read_part PATH-ESCAPED START: sets PART_BYTES to what was fetched for 4 KiB.
read_part() {
  local before=$UP_BYTES
  curl -fs -o "$W/part" -r "$2-$(($2 + 4095))" "$ADMIN/api/v1/file?ref=origin/bench/layer:v1&path=$1" ||
    die "a part cannot be read: $(tail -n 1 "$W/larder.log")"
  upstream_counters
  PART_BYTES=$((UP_BYTES - before))
}

part_reads_round() {
  local path start size digest before pass seen=()
  start_upstream --blob 1:4K --layer "bench/layer:v1:$BENCH_LAYER"
  start_larder_cold
  curl -fs -o "$W/files.json" "$ADMIN/api/v1/files?ref=origin/bench/layer:v1&recursive=1" ||
    die "the layer cannot be looked into: $(tail -n 1 "$W/larder.log")"
  jq -r '.files[] | select(.type == "file" and .size > 4096) | "\(.path_escaped // (.path | @uri)) \(.size)"' "$W/files.json" |
    shuf -n 100 --random-source="$BENCH_LAYER" >"$W/places"
  stop larder
  digest=$(layer_path)
  digest=${digest##*sha256:}
  rm "$W/store/blobs/sha256/${digest:0:2}/$digest"
  start_larder
  upstream_counters
  before=$UP_BYTES
  for pass in 1 2; do
    seen=()
    while read -r path size; do
      start=$(($(printf '%s' "$path" | cksum | cut -d' ' -f1) % (size - 4096)))
      read_part "$path" "$start"
      seen+=("$PART_BYTES")
    done <"$W/places"
    printf '%s\n' "${seen[@]}" | sort -n | awk '{ all[NR] = $1; sum += $1 }
      END { printf "mib_median %.3f\nmib_most %.3f\nmib_all %.3f\n", all[int((NR + 1) / 2)] / 1048576, all[NR] / 1048576, sum / 1048576 }' |
      while read -r name value; do put "reads-$pass" larder "$name" "$value"; done
  done
  warm "$(layer_path)" "sha256:$digest"
  upstream_counters
  put reads-and-pull larder mib_all "$(awk -v n=$((UP_BYTES - before)) 'BEGIN { printf "%.3f\n", n / 1048576 }')"
  put reads-and-pull layer mib_all "$(awk -v n="$(stat -L -c %s "$BENCH_LAYER")" 'BEGIN { printf "%.3f\n", n / 1048576 }')"
}
