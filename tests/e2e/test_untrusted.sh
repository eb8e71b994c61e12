#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An upstream whose certificate nobody vouches for is not spoken to: 502, a log line with the reason, and nothing
# stored.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo curl jq

start_registry
push plain
learn_truth plain
start_front nginx
start_larder larder --store "$T/store" --upstream "docker.io=$FRONT"

for path in manifests/plain "manifests/$MANIFEST" "blobs/$(blobs_of "$MANIFEST" | head -n 1)"; do
  status=$(curl -s -o "$T/got" -w '%{http_code}' "http://$LARDER_AT/v2/$REPOSITORY/$path")
  [ "$status" = 502 ] || fail "$path was answered with $status"
  jq -e '.errors[0].code == "UNKNOWN"' "$T/got" >/dev/null
done
grep -qi certificate "$T/larder.log" || fail "the log does not name the certificate"
[ "$(find "$T/store/blobs" -type f | wc -l)" = 0 ] || fail "something was stored"
