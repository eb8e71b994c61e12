#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Jobs against a real registry: a schedule starts one, kill -9 in the middle of it costs nothing that was held, and one
# that is cancelled asks no more.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need curl jq

start_registry
push multi
cat >"$T/larder.yaml" <<END
store: { path: $T/store }
admin: { listen: "unix:$T/admin.sock" }
upstreams:
  # Slow enough to be met in the middle of it, by commands that a busy machine lets wait.
  docker.io: { url: "http://$REGISTRY", rate_limit: 2/s }
END
cat - "$T/larder.yaml" >"$T/scheduled.yaml" <<END
prefetch: [ { every: 6h, images: [ "$REPOSITORY:multi" ], pin: base, referrers: false } ]
END
export LARDER_ADMIN=unix:$T/admin.sock

api() {
  curl -fsS --unix-socket "$T/admin.sock" -X "$1" "http://larder$2" "${@:3}"
}

# job ID FILTER: what jq makes of it.
job() {
  api GET "/api/v1/jobs/$1" | jq -r "$2"
}

job_is() {
  [ "$(job "$1" .state)" = "$2" ]
}

half_done() {
  job "$1" '.layers.done >= 1 and .state == "running"' | grep -q true
}

# How often the registry gave each blob.
blob_answers() {
  grep 'response completed' "$T/registry.log" | grep 'method=GET' | grep -o 'blobs/sha256:[0-9a-f]*' | sort | uniq -c
}

answers() {
  grep -c 'response completed' "$T/registry.log"
}

is_silent() {
  local before
  before=$(answers)
  sleep 2
  [ "$(answers)" = "$before" ]
}

say "a schedule, killed in the middle of its first run"
start_larder larder -c "$T/scheduled.yaml"
wait_for 30 "the first layer" half_done 1
kill -KILL "${pids[larder]}"
collect larder
held=$(find "$T/store/blobs" -type f -printf '%f\n')
[ -n "$held" ] || fail "nothing was published"

say "goes on"
start_larder larder -c "$T/scheduled.yaml"
wait_for 60 "the end of the job" job_is 1 "done"
[ "$(api GET /api/v1/jobs | jq ".jobs | length")" = 1 ] || fail "another was started beside the one that goes on: $(api GET /api/v1/jobs)"
[ "$(job 1 .images.done)" = 1 ] || fail "the job that went on has another image: $(job 1 .)"
"$LARDER" check "$REPOSITORY:multi" >"$T/out" || fail "not all is held: $(cat "$T/out")"
"$LARDER" pins | grep -q base || fail "it is not pinned"
while read -r times blob; do
  # The one that was cut may have been asked for once more.
  if [ "$times" -gt 1 ] && grep -q "${blob#*:}" <<<"$held"; then
    fail "the registry gave $blob $times times, and it was held"
  fi
done < <(blob_answers)
stop larder

say "cancelled"
rm -rf "$T/store"
start_larder larder -c "$T/larder.yaml"
id=$(api POST /api/v1/prefetch -d "{\"images\": [\"$REPOSITORY:multi\"], \"layer_parallel\": 1}" | jq -r .job)
wait_for 30 "the first layer" half_done "$id"
[ "$(api DELETE "/api/v1/jobs/$id" | jq -r .state)" = cancelled ] || fail "it is not cancelled"
# What is out, or waits for the registry's rate, comes to its end; nothing more does.
wait_for 30 "the end of the questions" is_silent
! "$LARDER" check "$REPOSITORY:multi" >"$T/out" || fail "a cancelled job fetched it all"
job_is "$id" cancelled || fail "it is not cancelled any more"
stop larder
