#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the container image holds, as its Dockerfile builds and collects it, is enough to serve a client and to take an archive,
# as the user of the image, with nothing else of this machine; and it has not grown. Where docker runs containers, the image is built and run
# by it, as compose.yaml does.
E2E_SECONDS=540 # it builds larder
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need skopeo curl jq cmake ninja chroot
[ "$(id -u)" = 0 ] || skip "a root file system of its own needs root"

MEGABYTES_MAX=25
ROOT=$T/root

# larder's own, as the image's user in the image's file system.
as_image=(env -i PATH=/usr/bin:/usr/sbin chroot --userspec=65532:65532 --groups= "$ROOT" /usr/bin/larder)

# The options are the Dockerfile's: what it builds, and not what this test thinks it does.
say "built and collected"
options=$(sed -n '/cmake -G/,/&&/p' "$E2E_SOURCE/deploy/docker/Dockerfile" | grep -o -- '-D[A-Z_]*=[A-Za-z/]*')
[ "$(wc -l <<<"$options")" -ge 3 ] || fail "the Dockerfile builds otherwise than this test can read"
# shellcheck disable=SC2086 # one word each
cmake -G Ninja -S "$E2E_SOURCE" -B "$T/build" $options >"$T/cmake.log" 2>&1 || fail "it is not configured"
cmake --build "$T/build" --target larder -j 2 >"$T/build.log" 2>&1 || fail "it is not built"
"$E2E_SOURCE/deploy/docker/collect" "$T/build/larder" "$ROOT"
size=$(du -s --apparent-size -B 1000000 "$ROOT" | cut -f 1)
[ "$size" -le "$MEGABYTES_MAX" ] || fail "the image has grown to $size MB"
[ -s "$ROOT/etc/ssl/certs/ca-certificates.crt" ] || fail "there are no authorities in it"

say "serves"
start_registry
push multi
learn_truth multi
start larder "${as_image[@]}" serve --listen 127.0.0.1:0 --admin unix:/tmp/admin.sock --store /var/lib/larder \
  --upstream "docker.io=http://$REGISTRY"
wait_log larder 'listening on '
LARDER_AT=127.0.0.1:$(port_of larder)
expect_served_by_larder multi

say "its own commands answer, as the health check asks; archives go out and come in"
"${as_image[@]}" status --admin unix:/tmp/admin.sock --json >"$T/status.json"
jq -e '.store.blobs > 0' "$T/status.json" >/dev/null || fail "no blobs in $(cat "$T/status.json")"
"${as_image[@]}" export --admin unix:/tmp/admin.sock -o /tmp/image.tar "docker.io/$REPOSITORY:multi" >"$T/export.log" 2>&1
stop larder
"${as_image[@]}" import --store /tmp/other /tmp/image.tar >"$T/import.log" 2>&1
"${as_image[@]}" check --store /tmp/other "docker.io/$REPOSITORY:multi" >"$T/check.log" 2>&1

# The Dockerfile's own last stage, but for where it takes the files from.
build_image() {
  tar -C "$ROOT" -cf "$T/context/image.tar" .
  sed -n '/^FROM scratch/,$p' "$E2E_SOURCE/deploy/docker/Dockerfile" |
    sed 's|^COPY --from=build /image /$|ADD image.tar /|' >"$T/context/Dockerfile"
  grep -q '^ADD image.tar' "$T/context/Dockerfile" || fail "the Dockerfile copies otherwise than this test can read"
  DOCKER_BUILDKIT=0 docker_cli build --network none -t larder "$T/context" >"$T/build-image.log" 2>&1 ||
    fail "the image is not built"
}

# container_listens TIMES: it has been started so often.
container_listens() {
  docker_cli logs larder >"$T/container.log" 2>&1
  [ "$(grep -c 'listening on ' "$T/container.log")" = "$1" ]
}

# expect_container TIMES: a client is served by the container.
expect_container() {
  wait_for 30 "start $1 of the container's larder" container_listens "$1"
  LARDER_AT=127.0.0.1:$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$T/container.log" | tail -n 1)
  expect_served_by_larder multi
}

# As compose.yaml hardens it.
run_container() {
  docker_cli run -d --name larder --network host --read-only --cap-drop ALL --security-opt no-new-privileges:true \
    -v larder:/var/lib/larder -e LARDER_ADMIN=unix:/var/lib/larder/admin.sock larder \
    serve --listen 127.0.0.1:0 --admin unix:/var/lib/larder/admin.sock --store /var/lib/larder \
    --upstream "docker.io=http://$REGISTRY" >"$T/run.log" 2>&1
}

# can_run_containers: or says why not.
can_run_containers() {
  if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
    say "skipped: no docker here to run the image as a container"
    return 1
  fi
  grep -q ' /sys/fs/cgroup' /proc/self/mounts || {
    say "skipped: a container daemon needs cgroups mounted"
    return 1
  }
}

if can_run_containers; then
  say "built by docker, and run as a container"
  mkdir "$T/context"
  start_dockerd
  build_image
  # What another image can do here is no matter of this one's.
  docker_cli run --rm --network none larder --version >"$T/version.log" 2>&1 ||
    { grep -q 'OCI runtime\|shim' "$T/version.log" && say "skipped: $(tail -n 1 "$T/version.log")" && exit 0; } ||
    fail "a container of it does not run"
  run_container || fail "a container of it does not start"
  expect_container 1
  jq -r '.[0].Config.Healthcheck.Test | .[1:][]' <(docker_cli image inspect larder) >"$T/healthcheck"
  mapfile -t healthcheck <"$T/healthcheck"
  docker_cli exec larder "${healthcheck[@]}" >"$T/health.json"
  jq -e '.store.blobs > 0' "$T/health.json" >/dev/null || fail "the health check says $(cat "$T/health.json")"
  docker_cli stop -t 35 larder >/dev/null
  [ "$(docker_cli inspect -f '{{.State.ExitCode}}' larder)" = 0 ] || fail "it did not end by SIGTERM"
  docker_cli start larder >/dev/null
  stop_upstream
  expect_container 2
  docker_cli rm -f larder >/dev/null
fi
