#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test that tests/CONTRACT.md of the source tree $1 names is there.
set -euo pipefail
cd "${1:?is the source tree}/tests"

# file_of PROGRAM: where the cases of `unit.store.gc`, `wire.jobs`, `e2e.cli` or `lint.manual` stand.
file_of() {
  local name=${1#*.}
  case $1 in
  unit.*) echo "unit/${name%%.*}/test_${name#*.}.c" ;;
  wire.* | faults.*) echo "${1%%.*}/test_$name.c" ;;
  e2e.*) echo "e2e/test_${name//./_}.sh" ;;
  *) echo "${1%%.*}/$name.sh" ;;
  esac
}

failed=0
count=0
while IFS="'" read -r _ program names; do
  file=$(file_of "$program")
  if [ ! -f "$file" ]; then
    echo "CONTRACT.md: there is no $program (tests/$file)"
    failed=1
    continue
  fi
  count=$((count + 1))
  for name in ${names//[:,]/ }; do
    grep -qw -- "$name" "$file" || {
      echo "CONTRACT.md: $program has no $name"
      failed=1
    }
  done
done < <(tr '\140' "'" <CONTRACT.md | grep -oE "'(unit|wire|e2e|faults|lint)\.[a-z0-9_.]+'(: [a-z0-9_, ]+)?")
[ "$count" -gt 0 ] || {
  echo "CONTRACT.md names no tests"
  failed=1
}
exit "$failed"
