#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The documentation shows the files of deploy/clients as they are, so that what is read there is what the tests have
# tried.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The comments say where a file goes; the documentation says it in its own words.
while read -r file; do
  grep -v '^#' "$file" | perl -0777 -e '
    local $/; open my $docs, "<", "docs/clients.md" or die; my $snippet = <STDIN>;
    exit(index(<$docs>, "\n$snippet```") < 0)' || {
    echo "docs/clients.md does not show $file"
    exit 1
  }
done < <(find deploy/clients -type f)

# What stands there as a command of larder's is one, with options that it has: with nobody at the admin address it comes to
# status 4, or as far as the files that it names, and never to 2, wrong usage.
: "${LARDER:?is the larder binary to test}"
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
count=0
# blocks LANGUAGE FILE: the blocks of that language, a NUL behind each.
blocks() {
  perl -0777 -ne 'while (/^```'"$1"'\n(.*?)^```/msg) { print "$1\0" }' "$2"
}
for page in README.md docs/*.md; do
  while IFS= read -r line; do
    case $line in *'|'* | *'…'* | *' serve '* | *' doctor --test'* | *' && '* | *' > '* | *'<'[a-z]*) continue ;; esac
    count=$((count + 1))
    status=0
    (cd "$T" && echo alpine >images.txt && LARDER_ADMIN=http://127.0.0.1:1 LARDER_CONFIG=/dev/null PATH=$(dirname "$LARDER"):$PATH \
      timeout 20 bash -c "$line") >"$T/said" 2>&1 </dev/null || status=$?
    case $status in
      2 | 124 | 127)
        echo "$page: '$line' ends with status $status: $(head -n 1 "$T/said")"
        exit 1
        ;;
    esac
  done < <(blocks sh "$page" | tr '\0' '\n' | sed -n 's/^ *\(larder [^#]*[^# ]\) *\(#.*\)\{0,1\}$/\1/p')
  # And a configuration is one, but for files that the reader has.
  while IFS= read -r -d '' text; do
    count=$((count + 1))
    printf '%s' "$text" >"$T/shown.yaml"
    "$LARDER" config check -c "$T/shown.yaml" >"$T/said" 2>&1 || true
    if grep -v -e ': ok$' -e ': No such file or directory$' "$T/said"; then
      echo "$page shows a configuration that larder refuses"
      exit 1
    fi
  done < <(blocks yaml "$page")
done
[ "$count" -ge 15 ] || {
  echo "only $count commands and configurations were found in the documentation"
  exit 1
}
