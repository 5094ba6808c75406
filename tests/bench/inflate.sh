#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part inflate: the balloon device alone on this machine's memory, without a guest, for each order
# of page numbers; huge pages beside small ones.
set -euo pipefail
"$MEMD_BUILD"/tests/bench/inflate 512 "${RUNS:-5}" | tee "$BENCH_OUT/inflate.txt"
python3 - "$BENCH_OUT/inflate.txt" "$BENCH_OUT/inflate.json" "${RUNS:-5}" <<'END'
import json, os, sys
speed = {}
for line in open(sys.argv[1]).read().splitlines()[1:]:
    pages, order, inflate, _, deflate, _ = line.split()
    speed[pages, order] = {"inflate": float(inflate), "deflate": float(deflate)}
rows = []
for metric in ("inflate", "deflate"):
    for order in ("ascending", "descending", "random"):
        ours, peer = speed["thp", order][metric], speed["small", order][metric]
        rows.append({"case": order, "metric": metric, "unit": "pages/s", "ours": ours,
                     "peer_name": "vmm pages=small", "peer": peer, "ratio": ours / peer,
                     "runs": int(sys.argv[3]), "note": "device alone, pages=thp, requests of 1 MiB"})
with open(sys.argv[2], "w") as f:
    json.dump({"schema": 1, "part": "inflate", "host": "%s, %d CPUs" % (os.uname().release,
               os.cpu_count()), "rows": rows}, f, indent=1)
END
