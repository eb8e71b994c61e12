#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each source file below the folder $1 names its licence in one of its first three lines.
set -euo pipefail
cd "${1:?is the source tree}"
missing=$(find . \( -path ./.git -o -path './build*' \) -prune -o -type f \
  ! -name '*.json' ! -name '*.md' ! -name LICENSE ! -name NEWS ! -name '*.tar.gz' ! -path './.[!c]*' ! -name .clang-format ! -path './deploy/debian/co*' ! -path './tests/fuzz/corpus/*' -exec sh -c '
    for file; do head -n 3 "$file" | grep -q "SPDX-License-Identifier: Apache-2.0" || echo "$file"; done' sh {} +)
[ -z "$missing" ] || {
  echo "no SPDX line in:"
  echo "$missing"
  exit 1
}
