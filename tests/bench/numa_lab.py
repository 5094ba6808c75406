#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Inside the lab, for numa.py: twelve guests of mixed size on four nodes, started in the worst order,
and one who is to bring memory and vCPUs together.

usage: numa_lab.py CASE SECONDS     CASE: memd, numad, kernel; writes /out/CASE.json

The guests are processes that look like QEMU's (tests/it/numa_peer.py): memory in huge pages, and a
thread that reads it all, again and again, with DUTY per cent of a processor. The smallest come first,
and memory comes from node 0 as long as it has some, then from the next: so the first nodes are filled
to the brim, guests that come where a node ends are split, and the last node is empty. vCPUs begin on
the other nodes in turn, and may run anywhere.
numad looks only at processes with more than 300 MiB and half a processor: all of these have more.
"""
import glob
import json
import os
import subprocess
import sys
import time

MIB = 1 << 20
PAGE = 4096
SIZES_MIB = sorted([320] * 5 + [384] * 3 + [448] * 2 + [512, 640])
DUTY = 55
STEP_S = 5
# 4 % as in memd.conf(5): what is kept free of each node.
RESERVE = 0.04
DIR = "/tmp/t"
NODES = sorted(int(p.rsplit("node", 1)[1]) for p in glob.glob("/sys/devices/system/node/node[0-9]*"))


def text(path):
    with open(path) as f:
        return f.read()


def node_cpus(node):
    return [int(p.rsplit("cpu", 1)[1]) for p in glob.glob(f"/sys/devices/system/node/node{node}/cpu[0-9]*")]


NODE_OF = {cpu: node for node in NODES for cpu in node_cpus(node)}


class Guest:
    def __init__(self, number, size_mib):
        self.path = f"{DIR}/p{number}.sock"
        self.process = subprocess.Popen(
            [sys.executable, "/share/numa_peer.py", f"p{number}", self.path, str(size_mib), "0",
             str(min(node_cpus(NODES[-1 - number % (len(NODES) - 1)]))), str(DUTY)], stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "READY\n":
            raise RuntimeError(f"guest {number} did not start")
        # All that it has are its main thread and its vCPU.
        self.tid = max(map(int, os.listdir(f"/proc/{self.process.pid}/task")))

    def vcpu(self):
        """(CPU seconds, the node it ran on last)"""
        fields = text(f"/proc/{self.process.pid}/task/{self.tid}/stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), NODE_OF[int(fields[36])]

    def memory(self):
        """{node: bytes} of its large mappings"""
        out = dict.fromkeys(NODES, 0)
        for line in text(f"/proc/{self.process.pid}/numa_maps").splitlines():
            pairs = [word.split("=") for word in line.split() if "=" in word]
            pages = {int(k[1:]): int(v) for k, v in pairs if k[0] == "N" and k[1:].isdigit()}
            size = dict(pairs).get("kernelpagesize_kB", "4")
            if sum(pages.values()) * int(size) >= 16 << 10:
                for node, n in pages.items():
                    out[node] += n * int(size) << 10
        return out


def node_info(node):
    """(bytes in all, free or droppable) of a node; files count as in memd.conf(5), node-reserve"""
    info = {w[2][:-1]: int(w[3]) << 10 for w in map(str.split, text(f"/sys/devices/system/node/node{node}/meminfo").splitlines())}
    total, files = info["MemTotal"], info["Active(file)"] + info["Inactive(file)"]
    return total, info["MemFree"] + files - min(files / 2, RESERVE * total)


def sample(guests, begin, counters):
    near = total = cpu = 0
    for guest in guests:
        used, node = guest.vcpu()
        memory = guest.memory()
        cpu += used
        near += memory[node]
        total += sum(memory.values())
    vmstat = dict(map(str.split, text("/proc/vmstat").splitlines()))
    now = {k: int(vmstat.get(k, 0)) * PAGE for k in ("pgmigrate_success", "numa_pages_migrated")}
    counters = counters or now
    return {"seconds": time.monotonic() - begin, "local": near / total, "cpu_seconds": cpu,
            "nodes": [node_info(n) for n in NODES],
            "moved_bytes": now["pgmigrate_success"] - counters["pgmigrate_success"],
            "balanced_bytes": now["numa_pages_migrated"] - counters["numa_pages_migrated"]}, counters


# ---- who brings them together ----

def start_memd():
    with open(f"{DIR}/memd.conf", "w") as f:
        f.write(f"[memd]\nruntime-dir={DIR}/run\nstate-dir={DIR}/state\nguests={DIR}/*.qmp\n")
    log = open("/out/memd.log", "w")
    subprocess.Popen(["memd", "--config", f"{DIR}/memd.conf"], stdout=log, stderr=log)


def start_numad():
    """As Debian's unit does, but that it tells more."""
    subprocess.run(["/share/numad", "-v", "-i", "15"], check=True)


def start_kernel():
    with open("/proc/sys/kernel/numa_balancing", "w") as f:
        f.write("1")


CASES = {"memd": start_memd, "numad": start_numad, "kernel": start_kernel}


def keep(name, command):
    with open(f"/out/{name}", "w") as f:
        subprocess.run(command, stdout=f, stderr=f, check=False)


def tell(case, s):
    free = " ".join(f"{100 * f / t:.0f}" for t, f in s["nodes"])
    print(f"  {case}: {s['seconds']:4.0f} s, local {100 * s['local']:5.1f} %, moved {s['moved_bytes'] / MIB:5.0f} MiB, "
          f"nodes free {free} %", flush=True)


def main():
    case, seconds = sys.argv[1], int(sys.argv[2])
    os.makedirs(DIR + "/state", exist_ok=True)
    with open("/proc/sys/kernel/numa_balancing", "w") as f:
        f.write("0")
    guests = []
    for number, size in enumerate(SIZES_MIB):
        guests.append(Guest(number, size))
    for number, guest in enumerate(guests):
        os.symlink(guest.path, f"{DIR}/p{number}.qmp")
    begin = time.monotonic()
    first, counters = sample(guests, begin, None)
    samples = [first]
    tell(case, first)
    placed = [g.memory() for g in guests]
    CASES[case]()
    while samples[-1]["seconds"] < seconds:
        time.sleep(STEP_S)
        samples.append(sample(guests, begin, counters)[0])
        if len(samples) % 4 == 0:
            tell(case, samples[-1])
    if case == "memd":
        keep("numa", ["memctl", "--socket", DIR + "/run/memd.sock", "numa"])
        keep("explain", ["memctl", "--socket", DIR + "/run/memd.sock", "explain"])
    if case == "numad":
        keep("numad.log", ["cat", "/var/log/numad.log"])
        if not any(text(p) == "numad\n" for p in glob.glob("/proc/[0-9]*/comm")):
            sys.exit("numad has ended; see numad.log")
    with open(f"/out/{case}.json", "w") as f:
        json.dump({"samples": samples, "placed": placed, "settled": [g.memory() for g in guests],
                   "runs_on": [g.vcpu()[1] for g in guests], "reserve": RESERVE}, f)


if __name__ == "__main__":
    main()
