#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print a part's result as a table. usage: table.py PART.json"""
import json
import sys


def number(value):
    return "-" if value is None else f"{value:.4g}"


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    with open(sys.argv[1]) as f:
        doc = json.load(f)
    rows = [["CASE", "METRIC", "UNIT", "OURS", "PEER IS", "PEER", "RATIO", "RUNS", "NOTE"]]
    for r in doc["rows"]:
        rows.append([r["case"], r["metric"], r["unit"], number(r["ours"]), r["peer_name"], number(r["peer"]),
                     number(r["ratio"]), str(r["runs"]), r["note"]])
    width = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        # Figures to the right, words to the left.
        cells = [c.rjust(w) if i in (3, 5, 6, 7) else c.ljust(w) for i, (c, w) in enumerate(zip(row, width))]
        print("  ".join(cells).rstrip())
    print("host:", doc["host"])


main()
