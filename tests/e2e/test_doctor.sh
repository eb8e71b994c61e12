#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `larder doctor` prints what the documentation does, for this larder; a client pulls with it; and its test finds out
# what works and what does not.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo jq

doctor() {
  "$LARDER" doctor --at "$LARDER_AT" "$@"
}

start_registry
push multi
learn_truth multi
start_larder_for plain

say "what it prints is what deploy/clients shows"
doctor --json >"$T/doctor.json"
printed() {
  jq -r --arg path "$1" '.clients[] | select(.path == $path) | .content' "$T/doctor.json"
}
diff <(printed /etc/docker/daemon.json) <(client_config daemon.json; echo)
diff <(printed /etc/containerd/certs.d/_default/hosts.toml) \
  <(client_config containerd/_default/hosts.toml | grep -v '^#'; echo)
diff <(printed /etc/containerd/certs.d/docker.io/hosts.toml) \
  <(client_config containerd/docker.io/hosts.toml | grep -v '^#'; echo)
doctor podman | grep -q '^# podman: /etc/containers/registries.conf.d/larder.conf' || fail "it does not say where to"
! doctor podman | grep -q daemon.json || fail "it tells of other clients"

say "a client pulls with it"
printed /etc/containers/registries.conf.d/larder.conf >"$T/registries.conf"
skopeo --insecure-policy --registries-conf "$T/registries.conf" copy -q "docker://docker.io/$REPOSITORY:multi" \
  "dir:$T/pulled"

say "its test passes"
doctor --test --image "docker.io/$REPOSITORY:multi" >"$T/tested"
[ "$(grep -c '^ok ' "$T/tested")" = 3 ] || fail "not all ways are ok: $(cat "$T/tested")"
doctor --test --image "docker.io/$REPOSITORY@$MANIFEST" --json | jq -e 'all(.tests[]; .ok and .hits > 0)' >/dev/null

say "and fails, with what to do, where something is wrong"
STATUS=0
doctor --test --image "docker.io/$REPOSITORY:missing" >"$T/tested" || STATUS=$?
[ "$STATUS" = 1 ] || fail "status $STATUS for an image that is not there"
grep -q 'failed .*is the image there' "$T/tested" || fail "it does not say what to do: $(cat "$T/tested")"
STATUS=0
doctor --test --image no.such.host/x >/dev/null 2>"$T/tested" || STATUS=$?
[ "$STATUS" = 2 ] || fail "status $STATUS for an upstream that is not configured"
stop larder
STATUS=0
doctor --test >"$T/tested" || STATUS=$?
[ "$STATUS" = 1 ] || fail "status $STATUS without a larder"
