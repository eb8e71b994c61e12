#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `larder doctor` prints what the documentation does, for this larder; a client pulls with it; and its test finds out
# what works and what does not.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo jq python3

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

say "each client takes its file"
if command -v dockerd >/dev/null && dockerd --help | grep -q -- --validate; then
  printed /etc/docker/daemon.json >"$T/daemon.json"
  dockerd --validate --config-file "$T/daemon.json" >"$T/validated" 2>&1 || fail "dockerd refuses: $(cat "$T/validated")"
fi
if command -v containerd >/dev/null && [ "$(id -u)" = 0 ]; then
  for host in _default docker.io; do
    mkdir -p "$T/hosts/$host"
    printed "/etc/containerd/certs.d/$host/hosts.toml" >"$T/hosts/$host/hosts.toml"
  done
  start_containerd
  ctr_cli images pull --snapshotter "$(snapshotter)" --hosts-dir "$T/hosts" "docker.io/$REPOSITORY:multi" >"$T/pull.out" 2>&1 ||
    fail "containerd does not pull: $(cat "$T/pull.out")"
  # By a path too, which containerd puts in front of v2.
  containerd_remove "docker.io/$REPOSITORY:multi"
  mkdir -p "$T/by-path/docker.io"
  printf 'server = "http://127.0.0.1:1"\n\n[host."http://%s/docker.io"]\n  capabilities = ["pull", "resolve"]\n' "$LARDER_AT" \
    >"$T/by-path/docker.io/hosts.toml"
  ctr_cli images pull --snapshotter "$(snapshotter)" --hosts-dir "$T/by-path" "docker.io/$REPOSITORY:multi" >"$T/pull.out" 2>&1 ||
    fail "containerd does not pull by a path: $(cat "$T/pull.out")"
  grep -q "path=/docker.io/v2/$REPOSITORY/" "$T/larder.log" || fail "containerd did not ask by a path"
  stop containerd
fi
# A BuildKit daemon is not packaged: its file is at least the TOML that it says it is.
python3 -c 'import sys, tomllib; assert tomllib.load(sys.stdin.buffer)["registry"]["docker.io"]["mirrors"] == [sys.argv[1]]' \
  "$LARDER_AT" < <(printed /etc/buildkit/buildkitd.toml)

say "TLS, logins and another default are told of"
cat >"$T/other.yaml" <<END
default_upstream: quay.io
access: { htpasswd: $T/users }
END
# shellcheck disable=SC2016 # a hash
echo 'a:$2y$04$abcdefghijklmnopqrstuuNlZAR7NEExaJuD6ixqkqXpRrQa5lFvC' >"$T/users"
doctor -c "$T/other.yaml" --tls --ca /ca.pem >"$T/told"
grep -q '^# docker: of no use here' "$T/told" || fail "docker is to ask quay.io for its images"
grep -q "install -D -m 644 /ca.pem /etc/containers/certs.d/$LARDER_AT/ca.crt" "$T/told" || fail "podman is not told of the CA"
grep -q '^# login: podman login' "$T/told" || fail "podman is not told to log in"
grep -q '^  ca = "/ca.pem"' "$T/told" || fail "containerd is not told of the CA"
doctor -c "$T/empty.yaml" --tls --ca /ca.pem docker | grep -q "install -D -m 644 /ca.pem /etc/docker/certs.d/$LARDER_AT/ca.crt" ||
  fail "docker is not told of the CA"

say "its test passes"
doctor --test --image "docker.io/$REPOSITORY:multi" >"$T/tested"
[ "$(grep -c '^ok ' "$T/tested")" = 4 ] || fail "not all ways are ok: $(cat "$T/tested")"
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
