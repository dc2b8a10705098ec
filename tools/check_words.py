#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds words that must not be in the tree: paths of one person's machine, merge leftovers, debts without an issue.

usage: check_words.py FILE...    exit 1 when anything was found
"""

import re
import sys

# Patterns are written so that this file does not match itself.
RULES = [
    (r"(?<![\w.}])/(?:wor[k]|roo[t]|Use[r]s)/\w", "a path of one machine"),
    (r"(?<![\w.}])/hom[e]/\w", "a path of one machine"),
    (r"^(?:<{7} |>{7} |={7}$)", "a merge conflict"),
    (r"\b(?:FIXM[E]|XX[X])\b", "a debt: mend it, or open an issue"),
    (r"\bTOD[O]\b(?!\(#\d+\))", "a debt: mend it, or name its issue as TOD" + "O(#12)"),
]


def main(paths):
    rules = [(re.compile(pattern), why) for pattern, why in RULES]
    found = 0
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except UnicodeDecodeError:
            continue  # not text
        if path == "LICENSE":
            continue
        for number, line in enumerate(lines, 1):
            for rule, why in rules:
                if rule.search(line):
                    print(f"{path}:{number}: {why}: {line.strip()[:100]}")
                    found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
