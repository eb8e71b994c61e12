#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The program seen from a shell: exit statuses, messages, and how it ends.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need curl setpriv

# expect_exit STATUS PATTERN COMMAND…: what it prints, on either stream, holds the pattern.
expect_exit() {
  local expected=$1 pattern=$2 status=0
  shift 2
  timeout 20 "$@" >"$T/said" 2>&1 </dev/null || status=$?
  if [ "$status" != "$expected" ]; then
    cat "$T/said" >&2
    fail "$* ended with status $status, not $expected"
  fi
  grep -Eq -- "$pattern" "$T/said" || {
    cat "$T/said" >&2
    fail "$* does not say '$pattern'"
  }
}

wrong_usage_is_2() {
  expect_exit 2 'frobnicate' "$LARDER" frobnicate
  expect_exit 2 'help' "$LARDER"
  expect_exit 2 'no-such-option' "$LARDER" serve --no-such-option
  expect_exit 2 'listen' "$LARDER" serve --listen
  expect_exit 2 '.' "$LARDER" config frobnicate
}

wrong_values() {
  local bad_ref="'Upper/case': the repository's name is malformed" bad_platform="--platform 'amd64': a platform is written"
  local line words
  for line in 'check REF' 'check a REF' 'explain REF' 'export -o none REF' 'files REF' 'cat REF x' 'find REF x' \
    'diff a REF' 'pin name a REF' 'unpin name REF' 'rm REF' 'prefetch REF' 'doctor --image REF'; do
    read -ra words <<<"${line/REF/Upper/case}"
    expect_exit 2 "$bad_ref" "$LARDER" "${words[@]}"
  done
  for line in 'check a' 'export -o none a' 'files a' 'cat a x' 'find a x' 'diff a b' 'prefetch a'; do
    read -ra words <<<"$line --platform amd64"
    expect_exit 2 "$bad_platform" "$LARDER" "${words[@]}"
  done
  expect_exit 2 "'sha256:12': the digest is malformed" "$LARDER" rm sha256:12
  expect_exit 2 "'alpine:3\\.\\*': the tag is malformed" "$LARDER" export -o "$T/none" 'alpine:3.*'
  expect_exit 2 "semver" "$LARDER" prefetch 'alpine:*?semver=nonsense'
  expect_exit 2 "--format 'zip': write oci\\|docker-archive" "$LARDER" export --format zip -o "$T/none" alpine
  expect_exit 2 "--as 'A:b': " "$LARDER" import --as A:b "$T/none"
  expect_exit 2 "--pin 'a b': a pin's name has" "$LARDER" prefetch --pin 'a b' alpine
  expect_exit 2 "'a/b': a pin's name has" "$LARDER" unpin a/b
  expect_exit 2 "--log-level 'loud': write error\\|warn" "$LARDER" serve --log-level loud
  expect_exit 2 "max_size: 'lots'" "$LARDER" serve --max-size lots
  expect_exit 2 '--pulled-since takes' "$LARDER" ls --pulled-since yesterday
}

a_wrong_value_is_2_before_a_larder_is_asked() {
  # Nobody listens there: who asked all the same would end with 4.
  local LARDER_ADMIN=unix:$T/nobody.sock
  export LARDER_ADMIN
  wrong_values
  expect_exit 4 'no larder answers' "$LARDER" check --platform linux/arm/v7 alpine quay.io/a/b:1
  expect_exit 4 'no larder answers' "$LARDER" prefetch 'ghcr.io/a/b:1.*?semver=>=1.2' 'quay://org/x*:latest'
}

help_and_version_are_0() {
  expect_exit 0 'serve' "$LARDER" --help
  expect_exit 0 '--listen' "$LARDER" serve --help
  expect_exit 0 '^larder [0-9]+\.[0-9]+' "$LARDER" --version
}

the_documentation_is_what_help_says() {
  "$LARDER" --help --markdown | diff "$E2E_SOURCE/docs/cli.md" - || fail "docs/cli.md is not larder --help --markdown"
}

a_wrong_configuration_is_3_and_names_the_place() {
  printf 'listen: 127.0.0.1:0\nstor: { path: /nowhere }\n' >"$T/unknown.yaml"
  expect_exit 3 "unknown.yaml:2:1: .*stor" "$LARDER" serve -c "$T/unknown.yaml"
  expect_exit 3 "unknown.yaml:2:1: .*stor" "$LARDER" config check -c "$T/unknown.yaml"
  printf 'store:\n  max_size: plenty\n' >"$T/size.yaml"
  expect_exit 3 "size.yaml:2:13: .*max_size" "$LARDER" config check -c "$T/size.yaml"
  printf 'listen: [ 127.0.0.1:0\nstore: }\n' >"$T/broken.yaml"
  expect_exit 3 "broken.yaml:2:[0-9]+: " "$LARDER" config check -c "$T/broken.yaml"
  expect_exit 3 "missing.yaml" "$LARDER" serve -c "$T/missing.yaml"
  expect_exit 3 "size.yaml:2:13: .*max_size" "$LARDER" config check "$T/size.yaml"
  expect_exit 2 'name one file' "$LARDER" config check -c "$T/size.yaml" "$T/size.yaml"
  expect_exit 2 'keys takes no file' "$LARDER" config keys "$T/size.yaml"
}

the_shipped_configuration_is_right() {
  expect_exit 0 '' "$LARDER" config check -c "$E2E_SOURCE/deploy/larder.yaml"
  expect_exit 0 'registry-1.docker.io' "$LARDER" config show -c "$E2E_SOURCE/deploy/larder.yaml"
  "$LARDER" config show -c "$E2E_SOURCE/deploy/larder.yaml" >"$T/shown.yaml"
  expect_exit 0 '' "$LARDER" config check "$T/shown.yaml"
}

secrets_are_not_shown() {
  echo 'a-very-secret-word' >"$T/password"
  printf 'upstreams:\n  docker.io: { username: me, password_file: %s }\n' "$T/password" >"$T/secret.yaml"
  expect_exit 0 'username: *"?me' "$LARDER" config show -c "$T/secret.yaml"
  ! grep -q a-very-secret-word "$T/said" || fail "config show prints a password"
}

a_port_in_use_is_1() {
  start_larder first --store "$T/first" --upstream "docker.io=http://127.0.0.1:1"
  expect_exit 1 "$LARDER_AT.*in use" "$LARDER" serve --listen "$LARDER_AT" --store "$T/other"
  stop first
}

a_store_that_is_held_is_5() {
  start_larder first --store "$T/first" --upstream "docker.io=http://127.0.0.1:1"
  expect_exit 5 "$T/first" "$LARDER" serve --listen 127.0.0.1:0 --store "$T/first"
  curl -fsS -o "$T/got" "http://$LARDER_AT/v2/" || fail "the first owner does not answer any more"
  stop first
}

a_store_without_permission_is_1() {
  if [ "$(id -u)" != 0 ]; then
    mkdir -m 500 "$T/closed"
    expect_exit 1 "$T/closed.*ermission" "$LARDER" serve --listen 127.0.0.1:0 --store "$T/closed/store"
    return
  fi
  # The build tree may be closed to others.
  chmod 755 "$T"
  chmod 644 "$LARDER_CONFIG"
  cp "$LARDER" "$T/program"
  mkdir -m 700 "$T/closed"
  expect_exit 1 "$T/closed.*ermission" setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$T/program" serve --listen 127.0.0.1:0 --store "$T/closed/store"
  # A store that cannot be written, though its folder can be entered.
  mkdir -m 755 "$T/read-only"
  expect_exit 1 "$T/read-only.*ermission" setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$T/program" serve --listen 127.0.0.1:0 --store "$T/read-only"
}

a_store_behind_a_symbolic_link_is_opened() {
  # systemd's DynamicUser= makes /var/lib/larder one.
  mkdir "$T/private"
  ln -s private "$T/public"
  start_larder linked --store "$T/public" --upstream "docker.io=http://127.0.0.1:1"
  stop linked
  [ -e "$T/private/VERSION" ] || fail "the store is not where the link leads"
}

a_signal_ends_an_idle_larder_with_0() {
  local signal
  for signal in TERM INT; do
    start_larder "idle-$signal" --store "$T/idle" --upstream "docker.io=http://127.0.0.1:1"
    curl -fsS -o "$T/got" "http://$LARDER_AT/v2/"
    kill "-$signal" "${pids[idle-$signal]}"
    collect "idle-$signal" 5
    [ "$STATUS" = 0 ] || fail "SIG$signal ended it with status $STATUS"
  done
}

largest_blob() {
  jq -r '.layers | max_by(.size) | .digest' "$(truth "$MANIFEST")"
}

connection_is_refused() {
  ! curl -s -o /dev/null --max-time 5 "http://$LARDER_AT/v2/"
}

sigterm_lets_a_running_answer_end() {
  local blob client
  start_registry
  push plain
  learn_truth plain
  start_front slow
  blob=$(largest_blob)
  start_larder larder --store "$T/store" --upstream "docker.io=$FRONT"
  curl -fsS -o "$T/blob" "http://$LARDER_AT/v2/$REPOSITORY/blobs/$blob" &
  client=$!
  wait_for 20 "the first byte of a slow blob" test -s "$T/blob"
  ! ended "$client" || fail "the blob was not slow"
  kill -TERM "${pids[larder]}"
  wait_for 5 "the end of new connections" connection_is_refused
  ! ended "$client" || fail "the answer ended with the first SIGTERM"
  wait "$client" || fail "the running answer was cut"
  cmp "$T/blob" "$(truth "$blob")"
  collect larder
  [ "$STATUS" = 0 ] || fail "larder ended with status $STATUS"
  # What was being fetched is kept, and needs no upstream any more.
  stop_upstream
  start_larder again --store "$T/store" --upstream "docker.io=$FRONT"
  curl -fsS "http://$LARDER_AT/v2/$REPOSITORY/blobs/$blob" | cmp - "$(truth "$blob")"
  stop again
}

for check in wrong_usage_is_2 a_wrong_value_is_2_before_a_larder_is_asked help_and_version_are_0 the_documentation_is_what_help_says \
  a_wrong_configuration_is_3_and_names_the_place the_shipped_configuration_is_right secrets_are_not_shown a_port_in_use_is_1 a_store_that_is_held_is_5 \
  a_store_without_permission_is_1 a_store_behind_a_symbolic_link_is_opened a_signal_ends_an_idle_larder_with_0 \
  sigterm_lets_a_running_answer_end; do
  say "$check"
  "$check"
done
