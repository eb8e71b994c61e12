#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs cppcheck over what the build tree $2 compiles from the source tree $1.
set -euo pipefail
source=${1:?is the source tree}
build=${2:?is the build tree}
mkdir -p "$build/cppcheck"
# -D__GNUC__ makes the cleanup attribute visible; headers of libraries are not looked into.
cppcheck --quiet --error-exitcode=1 -j "$(nproc)" --std=c11 --platform=unix64 --library=gnu,posix \
  --enable=warning,performance,portability --inline-suppr --suppress=missingIncludeSystem --suppress=unmatchedSuppression \
  --cppcheck-build-dir="$build/cppcheck" --template='{file}:{line}:{column}: {severity}: {message} [{id}]' \
  --project="$build/compile_commands.json" --file-filter="$source/*"
