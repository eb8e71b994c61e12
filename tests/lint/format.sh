#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every C file below the folder $1 is as clang-format leaves it.
set -euo pipefail
cd "${1:?is the source tree}"
find . -path './build*' -prune -o -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
