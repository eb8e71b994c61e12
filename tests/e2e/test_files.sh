#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands that look into images: files, cat, find and diff. That they tell the truth of every file is test_layers.sh's.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need umoci skopeo docker-registry jq setfattr setcap
[ "$(id -u)" = 0 ] || skip "umoci unpacks owners and devices as root alone"

layout=$T/layout
cp -r "$(image_layout)" "$layout"
add_changed "$layout"

start_registry
skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$layout:changed" "docker://$REGISTRY/$REPOSITORY:changed"
start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY" --admin "unix:$T/admin"
ask() {
  "$LARDER" "$@" --admin "unix:$T/admin"
}
ask cat "$REPOSITORY:changed" /usr/bin/soft | cmp - "$T/changed/rootfs/usr/bin/factor"
odd=$(printf 'usr/odd\tname\n\377')
[ "$(ask find "$REPOSITORY:changed" 'odd*')" = '/usr/odd\011name\012\377' ] || fail "a tab gets to the terminal"
ask cat "$REPOSITORY:changed" "$odd" | cmp - "$T/changed/rootfs/$odd"
skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$layout:plain" "docker://$REGISTRY/$REPOSITORY:plain"
ask diff "$REPOSITORY:plain" "$REPOSITORY:changed" >"$T/diff"
grep -qx 'M /usr/bin/tac (type)' "$T/diff" || fail "diff does not tell of what was replaced"
grep -qx 'M /usr/bin/factor (mode)' "$T/diff" || fail "diff does not tell of a mode"
grep -qx 'A /usr/share/doc/new' "$T/diff" || fail "diff does not tell of what was added"
grep -qx 'M /usr/bin/sort (xattrs)' "$T/diff" || fail "diff does not tell of a capability"
! grep -q '/usr/bin/tail' "$T/diff" || fail "diff tells of what is the same"
