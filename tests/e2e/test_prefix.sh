#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A helm chart, which is an artifact and no image, by the path prefix that helm needs because it knows no mirrors: by
# skopeo, and by helm where it is installed (Debian does not package it).
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo curl jq tar

CHART=charts/larder-e2e

# push_blob FILE: into the registry, as any client pushes; prints the descriptor.
push_blob() {
  local digest place
  digest=sha256:$(sha256sum "$1" | cut -d' ' -f1)
  place=$(curl -fsS -X POST -D - -o /dev/null "http://$REGISTRY/v2/$CHART/blobs/uploads/" |
    sed -n 's/^location: *//Ip' | tr -d '\r')
  curl -fsS -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "$place&digest=$digest"
  jq -cn --arg type "$2" --arg digest "$digest" --argjson size "$(stat -c %s "$1")" \
    '{mediaType: $type, digest: $digest, size: $size}'
}

push_chart() {
  local config layer
  mkdir -p "$T/chart/larder-e2e/templates"
  printf 'apiVersion: v2\nname: larder-e2e\nversion: 0.1.0\n' >"$T/chart/larder-e2e/Chart.yaml"
  printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: note }\n' >"$T/chart/larder-e2e/templates/note.yaml"
  tar -C "$T/chart" -czf "$T/chart.tgz" larder-e2e
  echo '{"name":"larder-e2e","version":"0.1.0","apiVersion":"v2"}' >"$T/chart.json"
  config=$(push_blob "$T/chart.json" application/vnd.cncf.helm.config.v1+json)
  layer=$(push_blob "$T/chart.tgz" application/vnd.cncf.helm.chart.content.v1.tar+gzip)
  jq -cn --argjson config "$config" --argjson layer "$layer" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: [$layer]}' \
    >"$T/chart.manifest"
  curl -fsS -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary "@$T/chart.manifest" \
    "http://$REGISTRY/v2/$CHART/manifests/0.1.0"
}

# pull_chart FOLDER: and compare with what was pushed.
pull_chart() {
  local prefix=$LARDER_AT/registry.example
  skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$prefix/$CHART:0.1.0" "dir:$1"
  cmp "$1/manifest.json" "$T/chart.manifest"
  cmp "$1/$(sha256sum "$T/chart.tgz" | cut -d' ' -f1)" "$T/chart.tgz"
  # helm asks for v2 before the prefix, others put the prefix before v2: both mean the same.
  fetch_manifest "http://$LARDER_AT/registry.example/v2/$CHART" 0.1.0 "$T/got"
  cmp "$T/got" "$T/chart.manifest"
  if command -v helm >/dev/null; then
    mkdir -p "$1.helm"
    helm pull --plain-http "oci://$prefix/${CHART}" --version 0.1.0 -d "$1.helm"
    cmp "$1.helm/larder-e2e-0.1.0.tgz" "$T/chart.tgz"
  fi
}

start_registry
push_chart
start_larder larder --store "$T/store" --upstream docker.io=http://127.0.0.1:1 \
  --upstream "registry.example=http://$REGISTRY"

say "cold"
pull_chart "$T/cold"

say "with the registry stopped"
stop_upstream
pull_chart "$T/warm"

say "an upstream that is not configured is not found"
status=$(curl -s -o "$T/got" -w '%{http_code}' "http://$LARDER_AT/v2/$CHART/manifests/0.1.0?ns=other.example")
[ "$status" = 404 ] || fail "an unknown upstream was answered with $status"
jq -e '.errors[0].code' "$T/got" >/dev/null
