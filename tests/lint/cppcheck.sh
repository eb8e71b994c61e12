#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs cppcheck over what the build tree $2 compiles from the source tree $1.
set -euo pipefail
source=${1:?is the source tree}
build=${2:?is the build tree}
mkdir -p "$build/cppcheck"
# It does not know the cleanup attribute, so it may not judge leaks: the address sanitizer's tree finds those. It does
# not read system headers either, so cppcheck.cfg explains the list macros.
cppcheck --quiet --error-exitcode=1 -j "$(nproc)" --std=c11 --platform=unix64 --library=gnu,posix \
  --library="$source/tests/lint/cppcheck.cfg" \
  --enable=warning,performance --inline-suppr \
  --suppress=missingIncludeSystem --suppress=unmatchedSuppression --suppress=resourceLeak --suppress=memleak \
  --cppcheck-build-dir="$build/cppcheck" --template='{file}:{line}:{column}: {severity}: {message} [{id}]' \
  --project="$build/compile_commands.json" --file-filter="$source/*"
