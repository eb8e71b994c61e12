#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docker and podman log in to larder with what the registry behind it knows of them, and pull what is theirs; who does not
# log in gets nothing, held or not.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need dockerd docker podman skopeo curl jq
need_daemons
need_unpacking

# The registry as it is, but for users from here on: bob, with the password "b".
lock_registry() {
  stop registry
  # shellcheck disable=SC2016 # it is a hash
  echo 'bob:$2b$04$ABCDEFGHIJKLMNOPQRSTUues6SAkqShBCRSCknWvLdAk8d/uDATN2' >"$T/users"
  cat >>"$T/registry.yml" <<END
auth: { htpasswd: { realm: e2e, path: $T/users } }
END
  start registry docker-registry serve "$T/registry.yml"
  wait_log registry 'listening on '
  REGISTRY=127.0.0.1:$(port_of registry)
}

refused() {
  ! "$@" >"$T/refused" 2>&1 || fail "was let in: $*"
}

podman_insecure() {
  local command=$1
  shift
  podman_cli "$command" --tls-verify=false "$@"
}

start_registry
push multi
learn_truth multi
PICKED=$(platform_manifest)
lock_registry
cat >"$T/larder.yaml" <<END
store: { path: $T/store }
admin: { listen: "off" }
default_upstream: corp.example
upstreams:
  corp.example: { url: "http://$REGISTRY", auth: client }
END
start_larder larder -c "$T/larder.yaml"
: >"$T/registries.conf"
pick_driver
start_dockerd
IMAGE=$LARDER_AT/$REPOSITORY:multi

say "nobody, and with a wrong password"
refused podman_insecure pull -q "$IMAGE"
refused docker_cli pull -q "$IMAGE"
refused podman_insecure login -u bob -p wrong "$LARDER_AT"
refused docker_cli login -u bob -p wrong "$LARDER_AT"

say "podman, logged in"
podman_insecure login -u bob -p b "$LARDER_AT" >/dev/null
podman_insecure pull -q "$IMAGE" >/dev/null
podman_cli image inspect "$IMAGE" >"$T/image.json"
expect_image "$T/image.json" "$PICKED" "$LARDER_AT/$REPOSITORY@$PICKED"

say "what podman brought in is nobody else's"
refused docker_cli pull -q "$IMAGE"
[ "$(curl -s -o "$T/answer" -w '%{http_code}' "http://$LARDER_AT/v2/$REPOSITORY/manifests/$PICKED")" = 401 ]
[ "$(curl -s -o "$T/answer" -w '%{http_code}' -u bob:wrong "http://$LARDER_AT/v2/$REPOSITORY/manifests/$PICKED")" = 403 ]

say "docker, logged in, with the registry gone since"
docker_cli login -u bob -p b "$LARDER_AT" >/dev/null 2>&1
stop_upstream
note_requests "$PICKED"
docker_cli pull -q "$IMAGE" >/dev/null
docker_cli image inspect "$IMAGE" >"$T/image.json"
expect_image "$T/image.json" "$PICKED"
expect_new_requests "$PICKED"

stop larder
! grep -q -e "Ym9iOmI=" -e "bob" "$T/larder.log" || fail "larder has written down who logged in"
