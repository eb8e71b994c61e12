#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A blob of 512 MiB from an upstream that gives each stream 20 MB/s: one stream against larder with four lanes.
#   bench/upstream/segments.sh BUILD-DIRECTORY [LATENCY-MS]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
[ $# -ge 1 ] || die "wants the build directory with larder and scripted-upstream"
enter_namespace "$@"
use_build "$1"
latency=${2:-0}
work_open
start_upstream --stream-rate 20000000 --latency "$latency" --blob "7:$((512 << 20))"
start_larder
digest=$(blob 1)

# fetch PORT: prints the seconds it took.
fetch() {
  curl -fsS -o "$W/blob" -w '%{time_total}\n' "http://127.0.0.1:$1/v2/team/app/blobs/$digest"
  echo "${digest#sha256:}  $W/blob" | sha256sum --quiet -c - >&2
}

one=$(fetch "$UPSTREAM_PORT")
four=$(fetch "$LARDER_PORT")
echo "one stream: $one s   larder: $four s   faster: $(awk "BEGIN { printf \"%.2f\", $one / $four }") times   latency: $latency ms"
upstream_counters
echo "the upstream sent $UP_BYTES bytes in $UP_REQUESTS answers, for both"
