#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Which room may include which, and which file may name which library, read off the #include lines below the folder $1.
# docs/architecture.md has the reasons. Prints each line that breaks a rule; exit status 1 if there is one.
set -euo pipefail
cd "${1:?is the source tree}"

broken=0

complain() {
  echo "$1: $2"
  broken=1
}

# allowed_rooms FILE: the folders whose headers the file may include, and single headers.
allowed_rooms() {
  case $1 in
    base/*) echo base ;;
    layer/*) echo base layer ;;
    store/*) echo base store ;;
    upstream/*) echo base upstream ;;
    server/http/*) echo base server/http ;;
    server/access/*) echo base server/access ;;
    # What a URL may hold is no business with the network.
    server/registry/*) echo base server/access server/http server/pull server/registry upstream/url.h ;;
    server/pull/*) echo base store upstream server/pull ;;
    server/bundle/*) echo base store server/pull server/bundle ;;
    server/jobs/*) echo base server/jobs ;;
    server/prefetch/*) echo base store server/http server/jobs server/prefetch server/pull server/registry ;;
    server/files/*) echo base layer store server/files server/pull ;;
    # All but the commands.
    server/admin/*) echo base store upstream/fetch.h upstream/url.h \
      server/{admin,bundle,files,http,jobs,prefetch,pull,registry} ;;
    server/*) echo base layer store upstream server ;;
    tests/*) echo base layer store upstream server tests ;;
    bench/*) echo base layer store bench tests/wire ;;
  esac
}

# library_owner HEADER: the files that may name it, as a glob; nothing when anyone may.
library_owner() {
  case $1 in
    microhttpd.h) echo 'server/http/*' ;;
    crypt.h) echo 'server/access/htpasswd.c' ;;
    seccomp.h | linux/landlock.h) echo 'server/cli/sandbox.c' ;;
    zstd.h) echo 'layer/*' ;;
    lmdb.h) echo 'store/@(index*.c|index_internal.h|schema.h)' ;;
    curl/*) echo '@(upstream/fetch_curl*.[ch]|server/cli/admin_client.c|server/cli/registry_client.c)' ;;
    archive.h | archive_entry.h) echo 'server/bundle/archive.c' ;;
    yaml.h) echo 'server/cli/config*' ;;
    nghttp2/*) echo 'tests/*' ;;
    cmocka.h) echo '@(tests|bench/upstream)/*' ;;
  esac
}

check_own() {
  local place=$1 file=$2 header=$3 room
  for room in $(allowed_rooms "$file"); do
    case $header in "$room" | "$room"/*) return ;; esac
  done
  case $file in tests/*) [[ $header == */* ]] || return 0 ;; esac
  case $header in
    */*) complain "$place" "$(dirname "$file") does not include $header" ;;
    # Beside the one that includes it or not, a header is written with its room, so that the arrows can be read.
    *) complain "$place" "write $header with its folder" ;;
  esac
}

check_library() {
  local place=$1 file=$2 header=$3 owner
  owner=$(library_owner "$header")
  [ -n "$owner" ] || return 0
  case $file in tests/*) return ;; esac
  # shellcheck disable=SC2053 # a glob is meant
  [[ $file == $owner ]] || complain "$place" "only $owner names <$header>"
}

shopt -s extglob
while IFS=: read -r file line text; do
  [[ $text =~ [\"\<]([^\"\>]+)[\"\>] ]] || continue
  header=${BASH_REMATCH[1]}
  case $text in
    *\"*) check_own "$file:$line" "$file" "$header" ;;
    *) check_library "$file:$line" "$file" "$header" ;;
  esac
done < <(find base layer store upstream server tests bench -name '*.[ch]' -print0 2>/dev/null |
  xargs -0r grep -HnE '^[[:space:]]*#[[:space:]]*include' || true)
exit "$broken"
