#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs shellcheck over every shell script below the folder $1, known by its first lines.
set -euo pipefail
cd "${1:?is the source tree}"
mapfile -t scripts < <(find . \( -path ./.git -o -path './build*' \) -prune -o -type f -exec awk '
  FNR > 3 { nextfile }
  FNR == 1 && /^#!.*(bash|\/sh)/ || /^# shellcheck shell=/ { print FILENAME; nextfile }' {} + | sort -u)
[ ${#scripts[@]} -gt 10 ] || {
  echo "found only ${#scripts[@]} scripts"
  exit 1
}
shellcheck -x "${scripts[@]}"
