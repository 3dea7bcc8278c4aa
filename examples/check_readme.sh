#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that the code in README.md is that of the examples, which are compiled. The block of code after the line
#   <!-- examples/FILE.cpp NAME -->
# must equal the lines of that file between "// [NAME]" and "// [NAME end]", without their indentation.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# The first block of code after line $1 of the README.
block_of_readme() { awk -v after="$1" 'NR > after && /^```/ { if (inside) exit; inside = 1; next } inside' README.md; }

# The region $2 of the file $1, without the indentation of its first line.
region() {
    awk -v begin="// [$2]" -v end="// [$2 end]" '
        index($0, end) { exit }
        inside { print substr($0, substr($0, 1, indent) ~ /^ *$/ ? indent + 1 : 1) }
        index($0, begin) { inside = 1; indent = index($0, begin) - 1 }' "$1"
}

count=0
failed=0
while IFS=: read -r line marker; do
    read -r _ file name _ <<<"$marker"
    if ! diff -u --label "$file: $name" --label "README.md:$line" <(region "$file" "$name") <(block_of_readme "$line"); then
        failed=1
    fi
    count=$((count + 1))
done < <(grep -n '^<!-- examples/' README.md)

if [[ $count -eq 0 ]]; then
    echo 'README.md has no code from the examples'
    exit 1
fi
exit "$failed"
