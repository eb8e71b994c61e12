#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The manual pages below the build tree $2: there is one for each command, and neither groff nor mandoc warns.
set -euo pipefail
build=${2:?is the build tree}
larder=$build/larder
pages=$build/man
wrong=0

complain() {
  echo "$*"
  wrong=1
}

# warnings COMMAND…: fails when the command says anything.
warnings() {
  local said
  said=$("$@" 2>&1 >/dev/null) || true
  [ -z "$said" ] || complain "$said"
}

for command in $("$larder" --help | sed -n 's/^  \([a-z][a-z]*\)\b.*/\1/p' | grep -vx larder); do
  [ -s "$pages/man1/larder-$command.1" ] || complain "larder-$command.1 is missing"
  grep -q "larder\\\\-$command " "$pages/man1/larder.1" || complain "larder.1 does not name larder-$command"
done
count=0
for page in "$pages"/man1/*.1 "$pages"/man5/*.5; do
  count=$((count + 1))
  warnings groff -ww -man -Tutf8 "$page"
  if command -v mandoc >/dev/null; then
    mandoc -Tlint -Wwarning "$page" || wrong=1
  fi
done
[ "$count" -ge 7 ] || complain "only $count pages"
command -v mandoc >/dev/null || echo "skipped: mandoc's opinion, as it is not installed"
exit "$wrong"
