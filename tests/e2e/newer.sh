# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The clients of this Debian, and of newer ones in the folders that newer-clients made. Sourced by tests, after lib.sh.

# need_suite here|SUITE: sets RUN to what runs that Debian's programs: "${RUN[@]}" COMMAND…
need_suite() {
  local folder
  [ "$1" != here ] || return 0
  [ "$(id -u)" = 0 ] || skip "a folder of another Debian needs root"
  folder=$("$E2E_SOURCE/tests/e2e/newer-clients" "$1") || skip "${folder#SKIPPED: }"
  RUN=(unshare -m --propagation private bash "$E2E_SOURCE/tests/e2e/in-folder" "$folder" "$T")
  if ! "${RUN[@]}" true 2>"$T/suite.log"; then skip "no mount namespaces here: $(tail -n 1 "$T/suite.log")"; fi
}
