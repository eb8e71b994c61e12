#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How long a warm pull takes (tag, manifest, configuration, three layers) when the upstream is stopped by SIGSTOP: the
# first, and the median of those after it; and while it answers, to compare.
#   bench/clients/hang.sh BUILD-DIRECTORY
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "$0")/../lib.sh"
[ $# = 1 ] || die "wants the build directory with larder and scripted-upstream"
enter_namespace "$@"
use_build "$1"
work_open
start_upstream --image team/app:v1:3:1M
TAG_TTL=0s start_larder

# pull_image: prints the seconds that it took.
pull_image() {
  local began ended base=http://127.0.0.1:$LARDER_PORT/v2/team/app digests digest options=()
  began=$(date +%s.%N)
  curl -fsS -o "$W/manifest" "$base/manifests/v1"
  mapfile -t digests < <(grep -o 'sha256:[0-9a-f]*' "$W/manifest")
  for digest in "${digests[@]}"; do options+=(-o "$W/${digest#*:}" "$base/blobs/$digest"); done
  curl -fsS "${options[@]}"
  ended=$(date +%s.%N)
  for digest in "${digests[@]}"; do echo "${digest#*:}  $W/${digest#*:}"; done | sha256sum --quiet -c - >&2
  echo "$began $ended" | awk '{ printf "%.3f\n", $2 - $1 }'
}

median() {
  sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

pull_image >/dev/null
settle
answering=$(for _ in 1 2 3 4 5 6 7 8 9; do pull_image; done | median)
kill -STOP "${pids[upstream]}"
first=$(pull_image)
later=$(for _ in 1 2 3 4 5 6 7 8 9; do pull_image; done | median)
kill -CONT "${pids[upstream]}"
echo "upstream answers: $answering s   stopped, first pull: $first s   after that: $later s"
awk "BEGIN { exit !($first <= 5 && $later < 0.3) }"
