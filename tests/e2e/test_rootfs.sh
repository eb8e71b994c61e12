#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the container image holds, as its Dockerfile builds and collects it, is enough to serve a client and to take an archive,
# as the user of the image, with nothing else of this machine; and it has not grown.
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
