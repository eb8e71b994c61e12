#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A client pulls an image, whatever the state of the registry is: cold, again, and with the registry gone, answering 429,
# and hanging. $1: the Debian that the client is of: here, trixie, sid; $2: the client.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/newer.sh
source "$E2E_SOURCE/tests/e2e/newer.sh"
need skopeo curl jq nginx
need_suite "$1"
# vfs works on every file system, whatever the folder of another Debian is on.
DOCKERD_OPTIONS=(-s vfs)
CLIENT=$2
"${RUN[@]}" sh -c "command -v $CLIENT" >"$T/which" || skip "there is no $CLIENT"
case $CLIENT in containerd | docker) need_daemons ;; esac
need_unpacking
say "$("${RUN[@]}" "$CLIENT" --version 2>/dev/null || "${RUN[@]}" "$CLIENT" version 2>/dev/null | head -n 1 || true)"

# same_blobs FOLDER DIGEST…: files there have the registry's bytes; their names end in the digests' hex.
same_blobs() {
  local folder=$1 digest file
  shift
  for digest in "$@"; do
    file=$(find "$folder" -type f -name "*${digest#*:}")
    [ -n "$file" ] || fail "$CLIENT did not get $digest"
    cmp "$file" "$(truth "$digest")"
  done
}

# same_image FILE: `image inspect`, as docker and podman print it, says what the registry holds.
same_image() {
  [ "$(jq -c '.[0].RootFS.Layers' "$1")" = "$(jq -c .rootfs.diff_ids "$(truth "$CONFIG")")" ] ||
    fail "$CLIENT holds other layers"
}

# What follows pulls the image anew and compares it.

pull_skopeo() {
  "${RUN[@]}" skopeo --insecure-policy copy -q --all --src-tls-verify=false "docker://$LARDER_AT/$REPOSITORY:multi" \
    "oci:$T/out:multi"
  same_blobs "$T/out" "${MANIFESTS[@]}" "${BLOBS[@]}"
}

pull_oras() {
  "${RUN[@]}" oras copy -r --from-plain-http --to-oci-layout "$LARDER_AT/$REPOSITORY:multi" "$T/out:multi" >"$T/oras.log"
  same_blobs "$T/out" "${MANIFESTS[@]}" "${BLOBS[@]}"
}

pull_crane() {
  "${RUN[@]}" crane validate --insecure --remote "$LARDER_AT/$REPOSITORY:multi" >"$T/crane.log"
  "${RUN[@]}" crane pull --insecure --format=oci "$LARDER_AT/$REPOSITORY:multi" "$T/out"
  same_blobs "$T/out" "${MANIFESTS[@]}" "${BLOBS[@]}"
}

# containers PROGRAM ARGUMENT…: podman and buildah, with a storage of the test's own.
containers() {
  local program=$1
  shift
  CONTAINERS_REGISTRIES_CONF=$T/registries.conf TMPDIR=$T "${RUN[@]}" "$program" --root "$T/out/root" --runroot "$T/out/run" \
    --storage-driver vfs "$@"
}

pull_podman() {
  mkdir -p "$T/out"
  containers podman pull -q "docker.io/$REPOSITORY:multi" >"$T/id"
  containers podman image inspect "docker.io/$REPOSITORY:multi" >"$T/image.json"
  same_image "$T/image.json"
}

pull_buildah() {
  mkdir -p "$T/out"
  containers buildah pull -q "docker.io/$REPOSITORY:multi" >"$T/id"
  containers buildah inspect --type image "docker.io/$REPOSITORY:multi" |
    jq '[{RootFS: {Layers: .OCIv1.rootfs.diff_ids}}]' >"$T/image.json"
  same_image "$T/image.json"
}

pull_containerd() {
  local digest
  [ -n "${pids[containerd]:-}" ] || start_containerd
  ctr_cli images rm --sync "docker.io/$REPOSITORY:multi" >/dev/null 2>&1 || true
  wait_for 30 "containerd's collection" containerd_is_empty
  ctr_cli images pull --snapshotter native --hosts-dir "$T/hosts" "docker.io/$REPOSITORY:multi" >"$T/pull.log" 2>&1 || {
    tail -n 20 "$T/pull.log" >&2
    fail "ctr images pull"
  }
  for digest in "$MANIFEST" "$PICKED" $(blobs_of "$PICKED"); do
    ctr_cli content get "$digest" | cmp - "$(truth "$digest")"
  done
}

pull_docker() {
  [ -n "${pids[dockerd]:-}" ] || start_dockerd
  docker_cli rmi -f "${REPOSITORY#library/}:multi" >/dev/null 2>&1 || true
  docker_cli pull -q "${REPOSITORY#library/}:multi" >"$T/id"
  docker_cli image inspect "${REPOSITORY#library/}:multi" >"$T/image.json"
  same_image "$T/image.json"
}

# pull WHAT: a pull that must work, and in which every blob came from larder.
pull() {
  local began=$SECONDS
  note_requests "$PICKED"
  rm -rf "$T/out"
  "pull_$CLIENT"
  expect_new_requests "$PICKED"
  say "$1: ${CLIENT} took $((SECONDS - began)) s"
}

start_registry
push multi
learn_truth multi
PICKED=$(platform_manifest)
CONFIG=$(jq -r .config.digest "$(truth "$PICKED")")
mapfile -t BLOBS < <(for digest in "${MANIFESTS[@]}"; do blobs_of "$digest"; done)
cat >"$T/larder.yaml" <<END
store: { path: $T/store }
upstreams:
  docker.io: { url: "http://$REGISTRY", tag_ttl: 0s }
END
start_larder larder -c "$T/larder.yaml"
client_config registries.conf >"$T/registries.conf"
mkdir -p "$T/hosts/docker.io"
client_config containerd/docker.io/hosts.toml >"$T/hosts/docker.io/hosts.toml"

pull "cold"
pull "again"

stop_upstream
pull "with the registry stopped"

cat >"$T/nginx.conf" <<END
daemon off; master_process off; pid $T/nginx.pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path $T/n1; proxy_temp_path $T/n2; fastcgi_temp_path $T/n3;
  uwsgi_temp_path $T/n4; scgi_temp_path $T/n5;
  server { listen $REGISTRY; location / { return 429; } }
}
END
limits() {
  [ "$(curl -s -o "$T/got" -w '%{http_code}' "http://$REGISTRY/v2/")" = 429 ]
}
start limit nginx -e stderr -p "$T" -c "$T/nginx.conf"
wait_for 30 "a 429" limits
pull "with the registry answering 429"

kill -STOP "${pids[limit]}"
pull "with the registry hanging"
kill -CONT "${pids[limit]}"
