#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The documentation shows the files of deploy/clients as they are, so that what is read there is what the tests have
# tried.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The comments say where a file goes; the documentation says it in its own words.
while read -r file; do
  grep -v '^#' "$file" | perl -0777 -e '
    local $/; open my $docs, "<", "docs/clients.md" or die; my $snippet = <STDIN>;
    exit(index(<$docs>, "\n$snippet```") < 0)' || {
    echo "docs/clients.md does not show $file"
    exit 1
  }
done < <(find deploy/clients -type f)
