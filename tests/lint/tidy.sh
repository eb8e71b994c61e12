#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs clang-tidy, as .clang-tidy says, over what the build tree $2 compiles from the source tree $1.
set -euo pipefail
cd "${1:?is the source tree}"
build=${2:?is the build tree}

tidy() {
  xargs -r -P "$(nproc)" -n 2 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option "$@"
}

# base/err.c defines what analyzer.h covers.
jq -r '.[].file' "$build/compile_commands.json" | sort -u | grep -v '/base/err\.c$' |
  tidy --extra-arg=-include --extra-arg="$PWD/tests/lint/analyzer.h"
jq -r '.[].file' "$build/compile_commands.json" | grep '/base/err\.c$' | tidy
