#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docker, podman and skopeo each pull an image of 1 GiB, cold, through a larder whose registry is killed and started
# again every second. Every pull must succeed, and the registry may send less than 1.05 GiB for it: counted by the
# kernel, on the network interface of the registry's own namespace.
#   LARDER=build/larder E2E_CACHE=/tmp bench/upstream/restarts.sh [skopeo|podman|docker]…
# shellcheck disable=SC2317 # called by name, by the library and by "$client"
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/../../tests/e2e/lib.sh"
need docker-registry skopeo jq ip
[ "$(id -u)" = 0 ] || skip "a network namespace needs root"

NAMESPACE=larder-bench-$$
LINK=lb$$
LAYERS=4
LAYER_MIB=256

# The test's own clean-up, and the namespace.
# shellcheck disable=SC2317 # called by trap
cleanup_all() {
  local status=$?
  ip netns del "$NAMESPACE" 2>/dev/null || true
  (exit "$status")
  cleanup
}
trap cleanup_all EXIT

# Packets as large as they get: what the interface counts is bodies, but for a thousandth.
make_namespace() {
  ip netns add "$NAMESPACE"
  ip link add "$LINK" mtu 65000 type veth peer name eth0 mtu 65000 netns "$NAMESPACE"
  ip addr add 10.213.77.1/30 dev "$LINK"
  ip link set "$LINK" up
  ip -n "$NAMESPACE" addr add 10.213.77.2/30 dev eth0
  ip -n "$NAMESPACE" link set eth0 up
  REGISTRY=10.213.77.2:5000
}

bytes_sent() {
  cat "/sys/class/net/$LINK/statistics/rx_bytes"
}

registry_answers() {
  curl -fs -o /dev/null "http://$REGISTRY/v2/"
}

# make_image: an OCI layout of layers that do not compress, each a file of random bytes in an archive.
make_image() {
  local layout=$T/layout i hex size diffs=() layers=()
  mkdir -p "$layout/blobs/sha256"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  for ((i = 0; i < LAYERS; i++)); do
    head -c "${LAYER_MIB}M" /dev/urandom >"$T/file-$i"
    tar -C "$T" -cf "$T/layer" "file-$i"
    rm "$T/file-$i"
    hex=$(sha256sum "$T/layer" | cut -d' ' -f1)
    size=$(stat -c %s "$T/layer")
    mv "$T/layer" "$layout/blobs/sha256/$hex"
    diffs+=("\"sha256:$hex\"")
    layers+=("{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$hex\",\"size\":$size}")
  done
  printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
    "$(dpkg --print-architecture)" "$(IFS=,; echo "${diffs[*]}")" >"$T/config"
  hex=$(sha256sum "$T/config" | cut -d' ' -f1)
  printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"sha256:%s","size":%d},"layers":[%s]}' \
    application/vnd.oci.image.manifest.v1+json application/vnd.oci.image.config.v1+json "$hex" \
    "$(stat -c %s "$T/config")" "$(IFS=,; echo "${layers[*]}")" >"$T/manifest"
  mv "$T/config" "$layout/blobs/sha256/$hex"
  hex=$(sha256sum "$T/manifest" | cut -d' ' -f1)
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"sha256:%s","size":%d,"annotations":{"%s":"%s"}}]}' \
    application/vnd.oci.image.manifest.v1+json "$hex" "$(stat -c %s "$T/manifest")" \
    org.opencontainers.image.ref.name big >"$layout/index.json"
  mv "$T/manifest" "$layout/blobs/sha256/$hex"
}

serve_registry() {
  exec ip netns exec "$NAMESPACE" docker-registry serve "$T/registry.yml"
}

# serve_and_kill: for ever; says how often.
# shellcheck disable=SC2317 # run as a service
serve_and_kill() {
  local pid
  trap 'kill -9 "$pid"; exit 0' TERM
  while :; do
    serve_registry &
    pid=$!
    sleep 1 &
    wait $!
    kill -9 "$pid"
    wait "$pid" || true
    echo killed >>"$T/kills"
  done
}

make_namespace
make_image
cat >"$T/registry.yml" <<END
version: 0.1
storage: { filesystem: { rootdirectory: $T/registry } }
http: { addr: "$REGISTRY" }
log: { level: error, accesslog: { disabled: true } }
END
start registry serve_registry
wait_for 30 "an answer of the registry" registry_answers
skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$T/layout:big" "docker://$REGISTRY/$REPOSITORY:big"
stop registry
rm -rf "$T/layout"

pull_by_skopeo() {
  skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$LARDER_AT/$REPOSITORY:big" "dir:$T/pulled"
  rm -rf "$T/pulled"
}

pull_by_podman() {
  local driver=overlay options=(--root "$T/podman" --runroot "$T/podman-run" --storage-driver)
  client_config registries.conf >"$T/registries.conf"
  podman "${options[@]}" overlay info >/dev/null 2>&1 || driver=vfs
  CONTAINERS_REGISTRIES_CONF=$T/registries.conf \
    podman "${options[@]}" "$driver" pull -q "docker.io/$REPOSITORY:big" >/dev/null
}

docker_cli() {
  docker -H "unix://$T/docker.sock" "$@"
}

pull_by_docker() {
  docker_cli pull -q "${REPOSITORY#library/}:big" >/dev/null
}

prepare_docker() {
  client_config daemon.json >"$T/daemon.json"
  start dockerd dockerd --config-file "$T/daemon.json" --iptables=false --bridge=none --data-root "$T/docker" \
    --exec-root "$T/docker-exec" -H "unix://$T/docker.sock" -p "$T/docker.pid"
  wait_for 60 "an answer of dockerd" docker_cli version >/dev/null 2>&1
}

status=0
for client in "${@:-skopeo}"; do
  : >"$T/kills"
  start_larder "larder-$client" --admin off --store "$T/store-$client" --upstream "docker.io=http://$REGISTRY"
  [ "$client" != docker ] || prepare_docker
  before=$(bytes_sent)
  start killer serve_and_kill
  began=$EPOCHREALTIME
  pulled=yes
  "pull_by_$client" 2>"$T/pull-$client.log" || pulled=no
  took=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }")
  sent=$(($(bytes_sent) - before))
  stop killer
  [ "$client" != docker ] || stop dockerd
  stop "larder-$client"
  rm -rf "$T/store-$client"
  ratio=$(awk "BEGIN { printf \"%.4f\", $sent / ($LAYERS * $LAYER_MIB * 1048576) }")
  echo "$client: pulled: $pulled   seconds: $took   kills: $(wc -l <"$T/kills")   sent: $ratio GiB"
  [ "$pulled" = yes ] && awk "BEGIN { exit !($ratio < 1.05) }" || status=1
done
exit "$status"
