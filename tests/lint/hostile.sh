#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/security.md lists what hostile peers do, and the test of each: every row names one that is there and is run.
set -euo pipefail
cd "${1:?is the source tree}"
wrong=0

complain() {
  echo "docs/security.md: $*"
  wrong=1
}

# is_run NAME: wire/test_NAME, e2e/test_NAME, fuzz/NAME, or a folder of unit tests.
is_run() {
  case $1 in
    wire/test_*) [ -f "tests/$1.c" ] && grep -q "^wire_test(${1#wire/test_}[ )]" tests/wire/CMakeLists.txt ;;
    e2e/test_*) [ -f "tests/$1.sh" ] && grep -q "^e2e_test([a-z_.]* ${1#e2e/test_}[ )]" tests/e2e/CMakeLists.txt ;;
    fuzz/*) [ -f "tests/$1.c" ] && grep -q "^fuzzer(${1#fuzz/} " tests/fuzz/CMakeLists.txt ;;
    unit/*/test_*) [ -f "tests/$1.c" ] && grep -rqs "^unit_test($(dirname "${1#unit/}") ${1##*/test_}[ )]" tests/unit ;;
    *) false ;;
  esac
}

rows=0
while IFS='|' read -r _ they _ tests _; do
  rows=$((rows + 1))
  # shellcheck disable=SC2016 # those are no commands
  names=$(grep -o '`[^`]*`' <<<"$tests" | tr -d '`' || true)
  [ -n "$names" ] || complain "no test for those who$they"
  for name in $names; do
    is_run "$name" || complain "$name, for those who$they, is no test"
  done
done < <(awk '/^#/ { listed = /^## Hostile / } listed' docs/security.md | grep '^| ' | grep -v '^| they ')
[ "$rows" -ge 30 ] || complain "only $rows rows"
exit "$wrong"
