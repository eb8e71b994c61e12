#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What larder tells of the files in an image is what umoci unpacks: the list, with types, modes and owners, and every
# byte of every file.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need umoci skopeo curl jq
[ "$(id -u)" = 0 ] || skip "umoci unpacks owners and devices as root alone"

# Everything below the folder $1, as lines of "path type mode uid gid size target".
list_folder() {
  (cd "$1" && find . -mindepth 1 -printf '/%P\t%y\t%04m\t%U\t%G\t%s\t%l\n') |
    awk -F'\t' -v OFS='\t' '$2 == "f" { print; next } { $6 = 0; print }' | LC_ALL=C sort
}

# The same of an image, out of the admin API's answer $1.
list_image() {
  jq -r '.files[] | [.path, {file: "f", directory: "d", symlink: "l", fifo: "p", "char device": "c"}[.type], .mode, .uid,
    .gid, (if .type == "file" then .size else 0 end), .target // ""] | @tsv' "$1" | LC_ALL=C sort
}

say "an image whose second layer takes back, replaces and adds"
layout=$T/layout
cp -r "$(image_layout)" "$layout"
umoci unpack --image "$layout:plain" "$T/bundle" 2>/dev/null
(
  cd "$T/bundle/rootfs"
  rm -rf usr/share/doc
  mkdir usr/share/doc
  echo new >usr/share/doc/new
  rm usr/bin/tac
  mkdir -p usr/bin/tac/now/a/directory
  ln usr/bin/factor usr/bin/hard
  ln -s ../bin/factor usr/bin/soft
  mkfifo usr/fifo
  mknod usr/null c 1 3
  dd if=/dev/urandom of=usr/sparse bs=4096 seek=300 count=2 status=none
  printf 'x' >"usr/$(printf 'odd\tname')"
  chmod 4755 usr/bin/factor
  chown 33:42 usr/share/doc/new
)
umoci repack --refresh-bundle --image "$layout:changed" "$T/bundle"
umoci unpack --image "$layout:changed" "$T/truth" 2>/dev/null

start_registry
skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$layout:changed" "docker://$REGISTRY/$REPOSITORY:changed"
start_larder larder --store "$T/store" --upstream "docker.io=http://$REGISTRY" --admin "unix:$T/admin"
api() {
  curl -fsS --unix-socket "$T/admin" "$@"
}

say "the list"
api -o "$T/list.json" "http://larder/api/v1/files?ref=$REPOSITORY:changed&recursive=1"
# shellcheck disable=SC2016 # jq's
list_image "$T/list.json" | sed 's/\\t/\\011/g' >"$T/list.larder"
list_folder "$T/truth/rootfs" | sed 's/odd\tname/odd\\011name/' >"$T/list.umoci"
diff "$T/list.umoci" "$T/list.larder"

say "the bytes of $(grep -c -P '\tf\t' "$T/list.umoci") files"
mkdir "$T/got"
jq -r '.files[] | select(.type == "file") | .path | "\(@uri)\t\(.)"' "$T/list.json" | grep -v odd |
  while IFS=$'\t' read -r escaped path; do
    mkdir -p "$T/got$(dirname "$path")"
    printf 'url = "http://larder/api/v1/file?ref=%s:changed&path=%s"\noutput = "%s"\n' "$REPOSITORY" "$escaped" "$T/got$path"
  done >"$T/curl"
api --fail-early -K "$T/curl"
(cd "$T/got" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >"$T/sums.larder"
(cd "$T/truth/rootfs" && find . -type f ! -name 'odd*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >"$T/sums.umoci"
[ -s "$T/sums.umoci" ] || fail "there are no files"
diff "$T/sums.umoci" "$T/sums.larder"

say "the commands"
ask() {
  "$LARDER" "$@" --admin "unix:$T/admin"
}
ask cat "$REPOSITORY:changed" /usr/bin/soft | cmp - "$T/truth/rootfs/usr/bin/factor"
[ "$(ask find "$REPOSITORY:changed" 'odd*')" = '/usr/odd\011name' ] || fail "a tab gets to the terminal"
skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$layout:plain" "docker://$REGISTRY/$REPOSITORY:plain"
ask diff "$REPOSITORY:plain" "$REPOSITORY:changed" >"$T/diff"
grep -qx 'M /usr/bin/tac (type)' "$T/diff" || fail "diff does not tell of what was replaced"
grep -qx 'M /usr/bin/factor (mode)' "$T/diff" || fail "diff does not tell of a mode"
grep -qx 'A /usr/share/doc/new' "$T/diff" || fail "diff does not tell of what was added"
! grep -q '/usr/bin/sort$' "$T/diff" || fail "diff tells of what is the same"
