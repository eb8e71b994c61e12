#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# skopeo copies an image through larder, all platforms of it, then again with the registry stopped.
# $1: how larder reaches the registry: plain, nginx or nghttpx.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo curl jq

copy() {
  skopeo --insecure-policy copy -q --all --src-tls-verify=false "docker://$1/$REPOSITORY:$2" "dir:$3"
}

start_registry
push multi
push plain --format v2s2
copy "$REGISTRY" multi "$T/multi.registry"
copy "$REGISTRY" plain "$T/plain.registry"
start_larder_for "$1"

say "cold"
copy "$LARDER_AT" multi "$T/multi.cold"
diff -r "$T/multi.registry" "$T/multi.cold"
copy "$LARDER_AT" plain "$T/plain.cold"
diff -r "$T/plain.registry" "$T/plain.cold"
[ "$1" = plain ] || expect_http2
skopeo inspect --tls-verify=false --raw "docker://$LARDER_AT/$REPOSITORY:plain" |
  cmp - "$T/plain.registry/manifest.json"
skopeo list-tags --tls-verify=false "docker://$LARDER_AT/$REPOSITORY" >"$T/tags"
jq -e '.Tags | sort == ["multi", "plain"]' "$T/tags" >/dev/null ||
  fail "the tag list is not the registry's"
learn_truth multi

say "with the registry stopped"
stop_upstream
copy "$LARDER_AT" multi "$T/multi.warm"
diff -r "$T/multi.registry" "$T/multi.warm"
copy "$LARDER_AT" plain "$T/plain.warm"
diff -r "$T/plain.registry" "$T/plain.warm"
expect_served_by_larder multi

say "after a restart of larder, the registry still stopped"
stop larder
[ "$STATUS" = 0 ] || fail "larder ended with status $STATUS"
start_larder again --store "$T/store" --upstream "docker.io=http://$REGISTRY"
copy "$LARDER_AT" multi "$T/multi.again"
diff -r "$T/multi.registry" "$T/multi.again"
