#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands that an operator gives, against a larder in front of a real registry, and on its store when it has ended.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need curl jq script

IMAGE=docker.io/$REPOSITORY

# A line a command, so that a failure says which.
run() {
  local status=0
  timeout 60 "$LARDER" "$@" >"$T/out" 2>"$T/err" </dev/null || status=$?
  STATUS=$status
}

show_run() {
  sed 's/^/out: /' "$T/out" >&2
  sed 's/^/err: /' "$T/err" >&2
}

# expect STATUS COMMAND…
expect() {
  local status=$1
  shift
  run "$@"
  [ "$STATUS" = "$status" ] || {
    show_run
    fail "larder $* ended with status $STATUS, not $status"
  }
}

# says PATTERN…: on standard output.
says() {
  local pattern
  for pattern in "$@"; do
    grep -Eq -- "$pattern" "$T/out" || {
      show_run
      fail "'$pattern' is not said"
    }
  done
}

says_error() {
  grep -Eq -- "$1" "$T/err" || {
    show_run
    fail "'$1' is not said on standard error"
  }
}

# gives VALUE JQ-FILTER: of the JSON on standard output.
gives() {
  local value
  value=$(jq -r "$2" "$T/out") || {
    show_run
    fail "no JSON for $2"
  }
  [ "$value" = "$1" ] || {
    show_run
    fail "$2 is '$value', not '$1'"
  }
}

# fits COLUMNS: no line is longer, and none ends in blanks.
fits() {
  local longest
  longest=$(LC_ALL=C.UTF-8 wc -L <"$T/out")
  [ "$longest" -le "$1" ] || {
    show_run
    fail "$longest columns, with room for $1"
  }
  ! grep -q ' $' "$T/out" || fail "blanks at a line's end"
}

admin_of() {
  sed -n 's/.*admin API on \([^ ]*\).*/\1/p' "$T/$1.log" | head -n 1
}

begin() {
  start_larder larder --store "$T/store" --admin "unix:$T/admin.sock" --upstream "docker.io=http://$REGISTRY"
  export LARDER_ADMIN=unix:$T/admin.sock
}

prefetch_fetches_follows_and_sums_up() {
  expect 0 prefetch --dry-run "$IMAGE:multi"
  says '^1 images, 8 layers, [1-9][0-9.]*MiB to fetch, 0B already held, [0-9.]+ s, 0 errors$'
  printf '# the base\n%s:multi  # both platforms\n\n' "$IMAGE" >"$T/list"
  expect 0 prefetch -J 2 -j 2 -f "$T/list" --pin base
  says '\[1/1\] images, \[8/8\] layers' '^1 images, 8 layers, [1-9][0-9.]*MiB fetched, [0-9.]+KiB already held, [0-9.]+ s, 0 errors$'
  [ "$(grep -c errors "$T/out")" = 1 ] || fail "more than one summary"
  expect 0 prefetch --json "$IMAGE:multi"
  [ "$(tail -n 1 "$T/out" | jq -r '.state, .bytes.fetched')" = $'done\n0' ] || fail "the second run fetched something"
  jq -s -e 'all(.[]; .id)' "$T/out" >"$T/jq" || fail "not an object a line"
}

prefetch_says_what_failed_and_does_the_rest() {
  expect 1 prefetch "$IMAGE:missing" "$IMAGE:plain"
  says '^1 images, .* 1 errors$'
  says_error "^larder prefetch: $IMAGE:missing: "
  expect 2 prefetch
  expect 2 prefetch 'UPPER/case:!'
  expect 2 prefetch -J 0 "$IMAGE:plain"
  expect 2 prefetch --platform nonsense "$IMAGE:plain"
  expect 1 prefetch -f "$T/no-such-list"
}

prefetch_on_a_terminal_draws_and_clears() {
  timeout 60 script -qec "stty cols 60; '$LARDER' prefetch '$IMAGE:plain'" "$T/typescript" >"$T/out" </dev/null ||
    fail "prefetch on a terminal ended with status $?"
  tr -d '\r' <"$T/out" >"$T/drawn"
  grep -q $'\033\\[[12]A' "$T/drawn" || fail "nothing was drawn"
  tail -n 1 "$T/drawn" | grep -Eq '^.*1 images, .* 0 errors$' || fail "no summary: $(cat -v "$T/drawn")"
}

jobs_are_listed_watched_and_cancelled() {
  expect 0 prefetch --detach "$IMAGE:plain"
  local id
  id=$(sed -n 's/^job //p' "$T/out")
  expect 0 jobs watch "$id"
  says '1 images,'
  expect 0 jobs
  says '^ *JOB +KIND +STATE' "^ *$id +prefetch +done"
  expect 0 jobs list --json
  gives "$id" ".jobs[] | select(.id == \"$id\") | .id"
  expect 1 jobs watch 4711
  expect 1 jobs cancel 4711
  expect 2 jobs cancel
  expect 2 jobs rename
}

# What follows is asked of a larder that runs, and of its store when it has ended: ON is "" or "--store DIR".

ls_lists_images() {
  # shellcheck disable=SC2086 # two words, or none
  {
    expect 0 ls $ON
    says '^IMAGE +PLATFORMS +SIZE' "^$IMAGE:multi +amd64 arm64 +14\.9MiB .* base " "^$IMAGE:plain "
    COLUMNS=200 expect 0 ls $ON
    fits 200
    says "^IMAGE +PLATFORMS +SIZE +ALONE +AGE +USED +PINS +DIGEST$"
    COLUMNS=80 expect 0 ls $ON
    fits 80
    says "^$IMAGE:multi +.*14\.9MiB"
    COLUMNS=40 expect 0 ls $ON
    fits 40
    expect 0 ls --json "*:mul*" $ON
    gives "$IMAGE:multi $MANIFEST true" '.images[] | "\(.reference) \(.digest) \(.held)"'
    expect 0 ls --quiet "*:plain" $ON
    [ "$(cat "$T/out")" = "$IMAGE:plain" ] || fail "--quiet says $(cat "$T/out")"
    expect 0 ls nothing-like-it $ON
    [ ! -s "$T/out" ] || fail "nothing is listed at length"
    expect 0 ls --quiet --pulled-since 1h $ON
    says ":multi$" ":plain$"
    expect 0 ls --quiet --pulled-since 2099-01-01 $ON
    [ ! -s "$T/out" ] || fail "the future was pulled"
    for since in yesterday 2026-02-30 2026-11-21x -1h forever ''; do
      expect 2 ls --pulled-since "$since" $ON
      says_error '^larder ls: --pulled-since takes a day, 2026-11-21, or how long ago, 36h$'
    done
  }
}

check_names_what_is_missing() {
  # shellcheck disable=SC2086
  {
    expect 0 ls --lock $ON
    cp "$T/out" "$T/lock"
    grep -qx "$IMAGE:multi@$MANIFEST" "$T/lock" || fail "the lockfile lacks the image: $(cat "$T/lock")"
    expect 0 check --lockfile "$T/lock" $ON
    says "^$IMAGE:multi@$MANIFEST: complete$" "^$IMAGE:plain@sha256:[0-9a-f]*: complete$"
    expect 0 check "$IMAGE:multi" --platform linux/arm64 --platform linux/amd64 $ON
    expect 1 check "$IMAGE:multi" --platform windows/amd64 $ON
    expect 1 check "$IMAGE:other" "$IMAGE:multi" $ON
    says "^$IMAGE:other: incomplete$" '^  missing manifest$' "^$IMAGE:multi: complete$"
    expect 1 check --json "$IMAGE:other" "$IMAGE:multi" $ON
    gives false .complete
    gives true ".images[] | select(.ref == \"$IMAGE:multi\") | .complete"
    expect 2 check $ON
    expect 2 check 'NOT/a:ref!' $ON
  }
}

pins_are_named_changed_and_listed() {
  # shellcheck disable=SC2086
  {
    expect 0 pin night "$IMAGE:plain" "$IMAGE:later" $ON
    says '^pin night: 2 references$'
    expect 0 pin night "$IMAGE:multi" $ON
    says '^pin night: 3 references$'
    expect 0 unpin night "$IMAGE:later" $ON
    says '^pin night: 2 references$'
    expect 0 pins $ON
    says '^base$' '^night$' "^  $IMAGE:plain$"
    expect 0 pins --json $ON
    gives "$IMAGE:multi" '.pins[] | select(.name == "base") | .references[].ref'
    expect 1 rm "$IMAGE:plain" $ON
    says_error night
    expect 0 unpin night $ON
    expect 1 unpin night $ON
    expect 2 pin 'no name' "$IMAGE:plain" $ON
    expect 2 pin no/name "$IMAGE:plain" $ON
    expect 2 unpin ../no/name $ON
    expect 2 pin night $ON
  }
}

gc_and_verify_say_what_they_did() {
  # shellcheck disable=SC2086
  {
    expect 0 gc --dry-run $ON
    says '^[0-9.]+B would be freed, 0 images, [0-9.]+ s, 0 errors$'
    expect 0 gc $ON
    says '^[0-9.]+B freed, 0 images, [0-9.]+ s, 0 errors$'
    expect 0 verify $ON
    says '^[1-9][0-9]* blobs verified, 14\.9MiB, 0 damaged, '
  }
}

a_damaged_blob_is_found_and_set_aside() {
  local layer
  layer=$(blobs_of "$(platform_manifest)" | tail -n 1)
  chmod u+w "$T/store/blobs/sha256/${layer:7:2}/${layer#*:}"
  printf 'x' | dd of="$T/store/blobs/sha256/${layer:7:2}/${layer#*:}" conv=notrunc bs=1 seek=7 2>"$T/dd"
  # shellcheck disable=SC2086
  expect 1 verify $ON
  says ' 1 damaged, '
  # shellcheck disable=SC2086
  expect 1 check "$IMAGE:multi" $ON
  says "^  missing $layer "
}

rm_forgets() {
  # shellcheck disable=SC2086
  {
    expect 0 rm "$IMAGE:plain" $ON
    says "^$IMAGE:plain: forgotten, "
    expect 0 ls --quiet $ON
    ! grep -q :plain "$T/out" || fail "a forgotten tag is listed"
    expect 1 rm "$IMAGE:plain" $ON
    expect 1 rm --json "sha256:$(printf '0%.0s' {1..64})" $ON
    expect 1 rm "$IMAGE" $ON
    says_error base
    expect 0 rm --force "$IMAGE" $ON
    expect 0 ls --quiet $ON
    [ ! -s "$T/out" ] || fail "a forgotten repository is listed"
  }
}

what_is_no_larder_is_told_apart() {
  expect 4 status --admin "http://$REGISTRY"
  says_error "what answers at http://$REGISTRY is no larder's admin API"
  expect 4 ls --admin "http://$REGISTRY"
}

# begin_slow: a larder with an empty store, and 2 MiB/s from its registry; a prefetch runs in front of it as FOLLOWER.
begin_slow() {
  rm -rf "$T/store"
  start_front slow
  start_larder larder --store "$T/store" --admin "unix:$T/admin.sock" --upstream "docker.io=$FRONT"
  : >"$T/followed"
  "$LARDER" prefetch -j 1 "$IMAGE:plain" >"$T/followed" 2>"$T/followed.err" </dev/null &
  FOLLOWER=$!
  wait_for 20 "the prefetch's first line" grep -q 'images' "$T/followed"
}

# end_follower SECONDS: sets STATUS; what it printed is asked by says.
end_follower() {
  wait_for "$1" "the end of the prefetch" ended "$FOLLOWER"
  STATUS=0
  wait "$FOLLOWER" || STATUS=$?
  cp "$T/followed" "$T/out"
  cp "$T/followed.err" "$T/err"
}

interrupting_a_prefetch_cancels_the_job() {
  begin_slow
  kill -INT "$FOLLOWER"
  end_follower 10
  [ "$STATUS" = 1 ] || fail "prefetch ended with status $STATUS"
  says '^cancelled: 0 images'
  expect 0 jobs
  says ' prefetch +cancelled'
  stop larder
  stop front
}

a_prefetch_is_followed_over_a_restart_of_the_larder() {
  begin_slow
  stop larder
  expect 4 jobs
  says_error "no larder answers at unix:$T/admin.sock"
  start_larder larder --store "$T/store" --admin "unix:$T/admin.sock" --upstream "docker.io=$FRONT"
  end_follower 60
  [ "$STATUS" = 0 ] || fail "prefetch ended with status $STATUS"
  says '^1 images, 7 layers, '
  stop larder
  stop front
}

start_registry
push plain
push multi
learn_truth multi
begin
for check in prefetch_fetches_follows_and_sums_up prefetch_says_what_failed_and_does_the_rest \
  prefetch_on_a_terminal_draws_and_clears what_is_no_larder_is_told_apart jobs_are_listed_watched_and_cancelled; do
  say "$check"
  "$check"
done
ON=
for check in ls_lists_images check_names_what_is_missing pins_are_named_changed_and_listed \
  gc_and_verify_say_what_they_did; do
  say "$check"
  "$check"
done
stop larder
unset LARDER_ADMIN
ON="--store $T/store"
for check in ls_lists_images check_names_what_is_missing pins_are_named_changed_and_listed \
  gc_and_verify_say_what_they_did a_damaged_blob_is_found_and_set_aside rm_forgets; do
  say "$check, without a larder"
  "$check"
done
export LARDER_ADMIN=unix:$T/admin.sock
for check in interrupting_a_prefetch_cancels_the_job a_prefetch_is_followed_over_a_restart_of_the_larder; do
  say "$check"
  "$check"
done
