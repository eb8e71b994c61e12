#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The page at the admin address, driven in headless Chromium by the keyboard: it follows, shows what is held, checks,
# pins, looks inside, and fetches ahead of use; in light, dark and 360 px.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need chromium chromedriver skopeo
/usr/bin/python3 -c 'import selenium' 2>/dev/null || skip "python3-selenium is not installed (deploy/install-deps test)"

start_registry
push multi
skopeo --insecure-policy copy -q --all --src-tls-verify=false --dest-tls-verify=false \
  "docker://$REGISTRY/$REPOSITORY:multi" "docker://$REGISTRY/$REPOSITORY:later"
start larder "$LARDER" serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --store "$T/store" --upstream "docker.io=http://$REGISTRY"
wait_log larder 'listening on '
LARDER_AT=127.0.0.1:$(port_of larder)
ADMIN=http://$(sed -n 's/.*admin API on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$T/larder.log" | head -n 1)

say "what is served with it"
curl -fsS -D "$T/head" -o "$T/page.html" "$ADMIN/"
grep -qi "^content-security-policy: default-src 'none'" "$T/head" || fail "there is no policy against foreign content"
! grep -Eq '(src|href)="(https?:)?//' "$T/page.html" || fail "the page asks others for something"

skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$LARDER_AT/$REPOSITORY:multi" "dir:$T/pulled"
say "driven"
/usr/bin/python3 "$E2E_SOURCE/tests/e2e/page.py" "$ADMIN/" "docker.io/$REPOSITORY:multi" "docker.io/$REPOSITORY:later" "$T" || {
  [ -z "${E2E_PICTURES:-}" ] || cp "$T"/*.png "$E2E_PICTURES/"
  fail "the page does not work"
}
[ -z "${E2E_PICTURES:-}" ] || cp "$T"/*.png "$E2E_PICTURES/"
