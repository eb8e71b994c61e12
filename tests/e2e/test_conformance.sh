#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the OCI conformance suite's read-only categories (pull, content discovery) ask, asked of larder before a real
# registry. The suite itself is a Go program that Debian does not have; each check here is named as it is there, or says
# that it is ours.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo curl jq

TYPE_MANIFEST=application/vnd.oci.image.manifest.v1+json
TYPE_INDEX=application/vnd.oci.image.index.v1+json
UNHELD=sha256:$(printf 'referred to, and not held' | sha256sum | cut -d' ' -f1)
MISSING=sha256:$(printf 'nobody has this' | sha256sum | cut -d' ' -f1)

# ask METHOD PATH [CURL-OPTION…]: sets STATUS; the answer is in got and got.head.
ask() {
  local method=$1 path=$2
  shift 2
  [ "$method" != HEAD ] || set -- --head "$@"
  STATUS=$(curl -sS -X "$method" -H "Accept: $TYPE_MANIFEST" -D "$T/got.head" -o "$T/got" -w '%{http_code}' "$@" \
    "http://$LARDER_AT/v2/$REPOSITORY/$path")
}

# expect NAME STATUS…
expect() {
  local name=$1 status
  shift
  for status in "$@"; do
    [ "$STATUS" != "$status" ] || {
      say "$name"
      return 0
    }
  done
  fail "$name: $STATUS"
}

header() {
  sed -n "s/^$1: *//Ip" "$T/got.head" | tr -d '\r'
}

expect_digest() {
  [ "$(header docker-content-digest)" = "$1" ] || fail "the digest is $(header docker-content-digest)"
}

expect_code() {
  jq -e --arg code "$1" '.errors[0].code == $code' "$T/got" >/dev/null || fail "not $1: $(cat "$T/got")"
}

# put PATH TYPE FILE: into the registry itself.
put() {
  curl -fsS -o "$T/put" -X PUT -H "Content-Type: $2" --data-binary "@$3" "http://$REGISTRY/v2/$REPOSITORY/$1"
}

# Two artifacts that refer to the image, and the tag by which a registry without the referrers API says so.
add_referrers() {
  local type descriptors=() digest
  for type in a b; do
    jq -c --arg digest "$MANIFEST" --argjson size "$(stat -c %s "$(truth "$MANIFEST")")" --arg artifact "test/$type" \
      '.subject = {mediaType: .mediaType, digest: $digest, size: $size} | .artifactType = $artifact
        | .mediaType = "'$TYPE_MANIFEST'" | .subject.mediaType = "'$TYPE_MANIFEST'"' "$(truth "$MANIFEST")" \
      >"$T/artifact.$type"
    digest=sha256:$(sha256sum "$T/artifact.$type" | cut -d' ' -f1)
    put "manifests/$digest" $TYPE_MANIFEST "$T/artifact.$type"
    descriptors+=("$(jq -cn --arg digest "$digest" --argjson size "$(stat -c %s "$T/artifact.$type")" \
      --arg type "test/$type" '{mediaType: "'$TYPE_MANIFEST'", digest: $digest, size: $size, artifactType: $type,
        annotations: {name: $type}}')")
  done
  printf '%s\n' "${descriptors[@]}" |
    jq -cs '{schemaVersion: 2, mediaType: "'$TYPE_INDEX'", manifests: .}' >"$T/referrers"
  put "manifests/${MANIFEST/:/-}" $TYPE_INDEX "$T/referrers"
  put "manifests/${UNHELD/:/-}" $TYPE_INDEX "$T/referrers"
}

pull() {
  local config
  config=$(jq -r .config.digest "$(truth "$MANIFEST")")

  say "-- Pull blobs"
  ask HEAD "blobs/$MISSING"
  expect "HEAD request to nonexistent blob should result in 404 response" 404
  ask HEAD "blobs/$config"
  expect "HEAD request to existing blob should yield 200" 200
  expect_digest "$config"
  ask GET "blobs/$MISSING"
  expect "GET nonexistent blob should result in 404 response" 404
  expect_code BLOB_UNKNOWN
  ask GET "blobs/$config"
  expect "GET request to existing blob URL should yield 200" 200
  cmp "$T/got" "$(truth "$config")"

  say "-- Pull manifests"
  ask HEAD "manifests/.INVALID_MANIFEST_NAME"
  expect "HEAD request to nonexistent manifest should return 404 (an invalid name; 400 is allowed)" 400 404
  ask HEAD "manifests/none"
  expect "HEAD request to nonexistent manifest should return 404" 404
  ask HEAD "manifests/$MANIFEST"
  expect "HEAD request to manifest path (digest) should yield 200 response" 200
  expect_digest "$MANIFEST"
  ask HEAD "manifests/v0"
  expect "HEAD request to manifest path (tag) should yield 200 response" 200
  expect_digest "$MANIFEST"
  ask GET "manifests/none"
  expect "GET nonexistent manifest should return 404" 404
  expect_code MANIFEST_UNKNOWN
  ask GET "manifests/$MANIFEST"
  expect "GET request to manifest path (digest) should yield 200 response" 200
  cmp "$T/got" "$(truth "$MANIFEST")"
  ask GET "manifests/v0"
  expect "GET request to manifest path (tag) should yield 200 response" 200
  cmp "$T/got" "$(truth "$MANIFEST")"

  say "-- Error codes"
  ask PUT "manifests/sha256:totallywrong" -H "Content-Type: $TYPE_MANIFEST" -d blablabla
  expect "400 response body should contain OCI-conforming JSON message" 400
  expect_code DIGEST_INVALID
  for path in "manifests/sha256:totallywrong" "blobs/sha256:totallywrong" "referrers/sha256:totallywrong" \
    "blobs/totallywrong"; do
    ask GET "$path"
    expect "ours: GET of a malformed digest is 400, $path" 400
    expect_code DIGEST_INVALID
  done
  ask GET "manifests/$MISSING"
  expect "ours: GET of a digest that nobody has is 404" 404
  expect_code MANIFEST_UNKNOWN
}

tags() {
  jq -c .tags "$T/got"
}

content_discovery() {
  say "-- Test content discovery endpoints (listing tags)"
  ask GET tags/list
  expect "GET request to list tags should yield 200 response" 200
  jq -e '.tags | length == 6' "$T/got" >/dev/null || fail "the tags are $(tags)" # the referrers' tags are two
  ask GET "tags/list?n=2"
  expect "GET number of tags should be limitable by \`n\` query parameter" 200
  [ "$(jq '.tags | length' "$T/got")" = 2 ] || fail "the tags are $(tags)"
  last=$(jq -r '.tags[1]' "$T/got")
  ask GET "tags/list?n=2&last=$last"
  expect "GET start of tag is set by \`last\` query parameter" 200
  jq -e --arg last "$last" '(.tags | length) <= 2 and (.tags | index([$last]) == null)' "$T/got" >/dev/null ||
    fail "the tags behind $last are $(tags)"

  say "-- Test content discovery endpoints (listing references)"
  ask GET "referrers/$MISSING"
  expect "GET request to nonexistent blob should result in empty 200 response" 200
  [ "$(header content-type)" = "$TYPE_INDEX" ] || fail "the type is $(header content-type)"
  jq -e '.manifests == []' "$T/got" >/dev/null || fail "$(cat "$T/got")"
  ask GET "referrers/$MANIFEST"
  expect "GET request to existing blob should yield 200" 200
  [ "$(header content-type)" = "$TYPE_INDEX" ] || fail "the type is $(header content-type)"
  jq -e '[.manifests[] | .artifactType == .annotations.name] == [true, true]' "$T/got" >/dev/null ||
    fail "$(cat "$T/got")"
  ask GET "referrers/$MANIFEST?artifactType=test/a"
  expect "GET request to existing blob with filter should yield 200" 200
  [ "$(header oci-filters-applied)" = artifactType ] || fail "OCI-Filters-Applied is $(header oci-filters-applied)"
  jq -e '[.manifests[].artifactType] == ["test/a"]' "$T/got" >/dev/null || fail "$(cat "$T/got")"
  ask GET "referrers/$UNHELD"
  expect "GET request to missing manifest should yield 200" 200
  jq -e '.manifests | length == 2' "$T/got" >/dev/null || fail "$(cat "$T/got")"
}

start_registry
push plain
fetch_manifest "http://$REGISTRY/v2/$REPOSITORY" plain "$T/plain"
for tag in v0 v1 v2; do put "manifests/$tag" $TYPE_MANIFEST "$T/plain"; done
learn_truth v0
add_referrers
start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY"
STATUS=$(curl -sS -o "$T/got" -w '%{http_code}' "http://$LARDER_AT/v2/")
expect "ours: the ping is answered" 200
say "== cold"
pull
content_discovery
say "== held"
pull
content_discovery
