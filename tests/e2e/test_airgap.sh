#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Images cross an air gap: fetched and exported on one side, imported into an empty store on the other, whose upstream
# is gone and which serves them all; what other tools write is imported, and they read what larder writes.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo umoci podman curl jq openssl tar script perl

copy() {
  skopeo --insecure-policy copy -q "$@"
}

name_of() {
  echo "docker.io/$REPOSITORY:$1"
}

crosses_whole() {
  say "what is not held is fetched, exported, imported elsewhere, and served with the upstream gone"
  on near export -o "$T/bundle.tar" "$(name_of multi)" "$(name_of plain)"
  on near ls --lock >"$T/lock"
  if on far check --lockfile "$T/lock" >"$T/said"; then fail "an empty store has all of the list"; fi
  on far import "$T/bundle.tar"
  on far check --lockfile "$T/lock"
  copy --all --src-tls-verify=false "docker://${at[far]}/$REPOSITORY:multi" "dir:$T/multi.far"
  diff -r "$T/multi.registry" "$T/multi.far"
  copy --src-tls-verify=false "docker://${at[far]}/$REPOSITORY:plain" "dir:$T/plain.far"
  diff -r "$T/plain.registry" "$T/plain.far"
  LARDER_AT=${at[far]} expect_served_by_larder multi
}

the_same_again_is_the_same() {
  say "the same images give the same bytes, from a running larder and a stopped one, as a stream and as a file"
  on near export --held-only -o - "$(name_of plain)" "$(name_of multi)" 2>/dev/null | cmp - "$T/bundle.tar"
  curl -fsS --unix-socket "$T/near.sock" -o "$T/streamed.tar" -D "$T/head" \
    "http://localhost/api/v1/export?ref=$(name_of multi)&ref=$(name_of plain)"
  cmp "$T/streamed.tar" "$T/bundle.tar"
  grep -qi "^content-length: $(stat -c %s "$T/bundle.tar")" "$T/head" || fail "an export has no length"
}

it_goes_to_what_is_no_file() {
  say "a pipe with a name, standard output by its other name, a device: bytes alone, and no file takes their place"
  mkfifo "$T/pipe"
  cat "$T/pipe" >"$T/piped" &
  local reader=$!
  on near export --held-only -o "$T/pipe" "$(name_of multi)" "$(name_of plain)" >"$T/said"
  wait "$reader"
  cmp "$T/piped" "$T/bundle.tar"
  [ -p "$T/pipe" ] || fail "a file is where the pipe was"
  grep -q '^exported 2 images' "$T/said" || fail "no summary beside the pipe"
  on near export --held-only -o /dev/stdout "$(name_of multi)" "$(name_of plain)" 2>"$T/said" | cmp - "$T/bundle.tar"
  grep -q '^exported 2 images' "$T/said" || fail "no summary beside standard output"
  if ! mknod "$T/full" c 1 7 2>/dev/null || ! [ -w "$T/full" ]; then
    say "skipped: a device of one's own needs root"
    return
  fi
  if on near export --held-only -o "$T/full" "$(name_of plain)" 2>"$T/said"; then fail "a full device took a bundle"; fi
  grep -q 'No space left on device' "$T/said" || fail "the device is not what is wrong: $(cat "$T/said")"
  [ -c "$T/full" ] || fail "a file is where the device was"
}

# on_terminal SIDE COMMAND…: what a terminal got is in $T/screen, and what stays on it in $T/left.
on_terminal() {
  local side=$1
  shift
  LARDER_ADMIN=unix:$T/$side.sock script -qec "stty cols 80; $(printf '%q ' "$LARDER" "$@")" /dev/null \
    >"$T/screen" </dev/null || fail "$1 on a terminal ended with status $?: $(cat -v "$T/screen")"
  perl -0pe 's/.*\e\[J//s; s/\r//g' "$T/screen" >"$T/left"
}

# drawn PATTERN: on the terminal, and gone again.
drawn() {
  grep -Eq -- "$1" "$T/screen" || fail "'$1' is not drawn: $(cat -v "$T/screen")"
  if grep -Eq -- "$1" "$T/left"; then fail "'$1' stays on the terminal: $(cat -v "$T/left")"; fi
}

a_terminal_shows_how_far_it_is() {
  say "on a terminal images, blobs and bytes are drawn, and only what came of it stays"
  on_terminal near export --held-only -o "$T/shown.tar" "$(name_of multi)" "$(name_of plain)"
  drawn '^\[0/2\] images'
  drawn '\[[0-9]+/[0-9]+\] blobs, [0-9.]+[KM]?i?B of [0-9.]+MiB'
  grep -q '^exported 2 images' "$T/left" || fail "no summary: $(cat -v "$T/left")"
  [ "$(wc -l <"$T/left")" = 1 ] || fail "more than the summary stays: $(cat -v "$T/left")"
  on_terminal far import "$T/shown.tar"
  drawn '^\[0/2\] images'
  drawn '\[[0-9]+/[0-9]+\] blobs, [0-9.]+[KM]?i?B of [0-9.]+MiB'
  grep -q '^2 images' "$T/left" || fail "no summary: $(cat -v "$T/left")"
  [ "$(wc -l <"$T/left")" = 3 ] || fail "more than images and summary stay: $(cat -v "$T/left")"
}

elsewhere_nothing_is_drawn() {
  say "elsewhere there is the summary alone"
  on near export --held-only -o "$T/shown.tar" "$(name_of multi)" "$(name_of plain)" >"$T/said" 2>&1
  [ "$(wc -l <"$T/said")" = 1 ] || fail "export says $(cat -v "$T/said")"
  on near export --held-only -o - "$(name_of multi)" 2>"$T/said" >"$T/shown.tar"
  [ "$(wc -l <"$T/said")" = 1 ] || fail "export says $(cat -v "$T/said")"
  on far import "$T/shown.tar" >"$T/said" 2>&1
  [ "$(wc -l <"$T/said")" = 2 ] || fail "import says $(cat -v "$T/said")"
  if grep -q $'\033' "$T/said"; then fail "import says $(cat -v "$T/said")"; fi
}

only_what_is_missing_crosses() {
  say "by a receipt, the next day's bundle carries what changed alone"
  on far receipt -o "$T/receipt"
  [ "$(stat -c %s "$T/receipt")" -lt 4096 ] || fail "the receipt is large"
  umoci config --image "$T/layout:plain" --tag changed --author somebody
  umoci raw add-layer --image "$T/layout:changed" "$T/new.tar"
  copy --dest-tls-verify=false "oci:$T/layout:changed" "docker://$REGISTRY/$REPOSITORY:plain"
  sleep 1.1 # the near side's tag_ttl
  on near export --have "$T/receipt" -o "$T/next" "$(name_of plain)"
  on near export --have "$T/receipt" -o "$T/next.tar" "$(name_of plain)"
  on far receipt -o - | on near export --have - -o - "$(name_of plain)" 2>"$T/said" | cmp - "$T/next.tar"
  [ "$(find "$T/next/blobs" -type f | wc -l)" = 3 ] || fail "the bundle is not the layer, the config and the manifest"
  on far import "$T/next"
  copy --src-tls-verify=false "docker://$REGISTRY/$REPOSITORY:plain" "dir:$T/changed.registry"
  copy --src-tls-verify=false "docker://${at[far]}/$REPOSITORY:plain" "dir:$T/changed.far"
  diff -r "$T/changed.registry" "$T/changed.far"
}

a_promise_that_is_not_kept_is_reported() {
  say "what the receipt promised and is not there is named, and is exit status 1"
  start_side empty --offline
  if on empty import "$T/next" >"$T/said" 2>&1; then fail "an import that lacks most of an image ends well"; fi
  grep -q 'which the receipt said is here' "$T/said" || fail "what is missing is not named"
  stop empty
}

signatures_are_checked() {
  say "a signed bundle, by openssl's key and checked by openssl too"
  openssl genpkey -algorithm ed25519 -out "$T/key.pem"
  openssl pkey -in "$T/key.pem" -pubout -out "$T/key.pub"
  on near export --sign "$T/key.pem" -o "$T/signed" "$(name_of multi)"
  openssl pkeyutl -verify -pubin -inkey "$T/key.pub" -rawin -in "$T/signed/larder-bundle.json" \
    -sigfile "$T/signed/larder-bundle.sig" >/dev/null
  on far import --verify-key "$T/key.pub" "$T/signed"
  if on far import --verify-key "$T/key.pub" "$T/bundle.tar" 2>"$T/said"; then fail "an unsigned bundle is taken"; fi
  printf 'import: { verify_key: %s }\nstore: { path: %s/keyed }\n' "$T/key.pub" "$T" >"$T/keyed.yaml"
  start_larder keyed -c "$T/keyed.yaml" --admin "unix:$T/keyed.sock" --offline
  on keyed import "$T/signed"
  sed -i 's/"size":/"size": /' "$T/signed/larder-bundle.json"
  if on keyed import "$T/signed" 2>"$T/said"; then fail "a bundle that was changed is taken"; fi
  grep -q signature "$T/said" || fail "the signature is not what is wrong"
  stop keyed
}

other_tools_read_it() {
  say "skopeo, umoci and podman read what larder wrote"
  on near export -o "$T/one" "$(name_of multi)"
  copy --all "oci:$T/one:$(name_of multi)" "dir:$T/multi.skopeo"
  diff -r "$T/multi.registry" "$T/multi.skopeo"
  umoci stat --image "$T/one:$(name_of multi)" --json >"$T/stat" 2>&1 || umoci ls --layout "$T/one" | grep -q multi
  on near export --platform "linux/$(dpkg --print-architecture)" -o "$T/one.tar" "$(name_of multi)"
  copy "oci-archive:$T/one.tar:$(name_of multi)" "dir:$T/one.skopeo"
  on near export --format docker-archive --platform "linux/$(dpkg --print-architecture)" -o "$T/docker.tar" \
    "$(name_of multi)"
  copy "docker-archive:$T/docker.tar:$(name_of multi)" "dir:$T/docker.skopeo"
  [ "$(jq -r .config.digest "$T/docker.skopeo/manifest.json")" = "$(jq -r .config.digest "$T/one.skopeo/manifest.json")" ] ||
    fail "the docker archive has another config"
}

podman_and_containerd_load_it() {
  say "podman loads it, and containerd"
  if [ "$(id -u)" != 0 ]; then
    say "skipped: loading images needs root"
    return
  fi
  : >"$T/registries.conf"
  DRIVER=vfs podman_cli load -q -i "$T/one.tar" >"$T/said"
  grep -q "$(name_of multi)" "$T/said" || fail "podman loaded something else"
  DRIVER=vfs podman_cli images --digests >"$T/said"
  grep -q "$MANIFEST" "$T/said" || fail "podman holds another digest"
  if ! command -v containerd >/dev/null || ! grep -q ' /sys/fs/cgroup' /proc/self/mounts; then
    say "skipped: containerd is not installed, or there are no cgroups"
    return
  fi
  start_containerd
  ctr_cli images import --snapshotter native "$T/one.tar" >/dev/null
  ctr_cli content get "$MANIFEST" | cmp - "$(truth "$MANIFEST")"
  stop containerd
}

other_tools_write_it() {
  say "what skopeo and umoci wrote comes out as it went in"
  start_side taken --offline
  copy --all "oci:$T/layout:multi" "oci:$T/by.skopeo:docker.io/library/by-skopeo:1"
  on taken import "$T/by.skopeo"
  copy --all --src-tls-verify=false "docker://${at[taken]}/library/by-skopeo:1" "dir:$T/by.skopeo.dir"
  diff -r "$T/multi.registry" "$T/by.skopeo.dir"
  on taken import --as docker.io/library/by-umoci "$T/layout"
  copy --all --src-tls-verify=false "docker://${at[taken]}/library/by-umoci:multi" "dir:$T/by.umoci.dir"
  diff -r "$T/multi.registry" "$T/by.umoci.dir"
  copy "oci:$T/layout:plain" "oci-archive:$T/by.tar:docker.io/library/by-archive:1"
  gzip -c "$T/by.tar" | on taken import -
  on taken import <"$T/by.tar"
  copy --src-tls-verify=false "docker://${at[taken]}/library/by-archive:1" "dir:$T/by.archive.dir"
  diff -r "$T/plain.registry" "$T/by.archive.dir"
  copy "oci:$T/layout:plain" "docker-archive:$T/by.docker.tar:docker.io/library/by-docker:1"
  on taken import "$T/by.docker.tar"
  copy --src-tls-verify=false "docker://${at[taken]}/library/by-docker:1" "dir:$T/by.docker.dir"
  stop taken
  say "and back: from a stopped store, into a layout that skopeo and umoci read"
  "$LARDER" export --store "$T/taken" -o "$T/back" docker.io/library/by-skopeo:1
  copy --all "oci:$T/back:docker.io/library/by-skopeo:1" "dir:$T/back.dir"
  diff -r "$T/multi.registry" "$T/back.dir"
  say "into a store that is made for it"
  "$LARDER" import --store "$T/made/for/it" "$T/back"
  "$LARDER" check --store "$T/made/for/it" docker.io/library/by-skopeo:1
}

cp -r "$(image_layout)" "$T/layout"
mkdir "$T/new"
date >"$T/new/today"
tar -C "$T/new" -cf "$T/new.tar" today
start_registry
push multi
push plain
learn_truth multi
copy --all --src-tls-verify=false "docker://$REGISTRY/$REPOSITORY:multi" "dir:$T/multi.registry"
copy --src-tls-verify=false "docker://$REGISTRY/$REPOSITORY:plain" "dir:$T/plain.registry"
printf 'upstreams: { docker.io: { url: "http://%s", tag_ttl: 1s } }\n' "$REGISTRY" >"$T/near.yaml"
start_side near -c "$T/near.yaml"
start_side far --offline

crosses_whole
the_same_again_is_the_same
it_goes_to_what_is_no_file
a_terminal_shows_how_far_it_is
elsewhere_nothing_is_drawn
other_tools_read_it
podman_and_containerd_load_it
other_tools_write_it
signatures_are_checked
only_what_is_missing_crosses
a_promise_that_is_not_kept_is_reported
