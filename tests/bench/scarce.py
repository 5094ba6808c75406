# SPDX-License-Identifier: Apache-2.0
"""Memory made scarce on this machine: huge pages reserved until so much is left, and swap on zram.
A guard, a process of its own, undoes it when this one ends, however it ends. Memory in too small
pieces for huge pages the guard locks itself.
"""
import ctypes
import mmap
import os
import signal
import subprocess
import sys
import time

MIB = 1 << 20
HUGE = 2 * MIB
POOL = "/proc/sys/vm/nr_hugepages"
ZRAM = "/sys/class/zram-control/"


def meminfo():
    with open("/proc/meminfo") as f:
        return {w[0].rstrip(":"): int(w[1]) * 1024 for w in map(str.split, f) if len(w) == 3}


def free_per_cpu():
    """Bytes free in lists that processors keep for themselves. MemFree and MemAvailable leave these out,
    and since Linux 6.7 they grow to an eighth of memory when processes end."""
    with open("/proc/zoneinfo") as f:
        return sum(int(line.split()[1]) for line in f if line.strip().startswith("count:")) * mmap.PAGESIZE


def available():
    return meminfo()["MemAvailable"] + free_per_cpu()


def read(path):
    with open(path) as f:
        return f.read().strip()


def write(path, value):
    with open(path, "w") as f:
        f.write(str(value))


def swapoff(number):
    """The zram device of that number: no swap any more, and gone."""
    subprocess.run(["/usr/sbin/swapoff", f"/dev/zram{number}"], stderr=subprocess.DEVNULL, check=False)
    for _ in range(50):
        try:
            write(ZRAM + "hot_remove", number)
            return
        except OSError:
            time.sleep(0.1)
    print(f"density: zram{number} cannot be removed", file=sys.stderr)


def lock(size):
    """Memory that stays where it is as long as what is returned lives."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None).mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)) != 0:
        print("density: memory cannot be locked", file=sys.stderr)
    return memory


class Guard:
    """Undoes what it was told of, last first, when the pipe to it closes."""
    def __init__(self):
        r, self.pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            self.guard(r)
        os.close(r)

    @staticmethod
    def guard(fd):
        status = 1
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            try:
                write("/proc/self/oom_score_adj", -1000)
            except OSError:
                pass  # not in every container; the guests go first all the same
            with os.fdopen(fd) as f:
                todo = []
                while line := f.readline():
                    words = line.strip().split(" ", 2)
                    if words[0] == "lock":
                        locked = lock(int(words[1]))  # noqa: F841
                    elif words[0] == "gone":
                        # Its number may be another's by the end.
                        todo = [w for w in todo if w != ["kill", words[1]]]
                    else:
                        todo.append(words)
            for words in reversed(todo):
                Guard.undo(*words)
            status = 0
        finally:
            os._exit(status)

    @staticmethod
    def undo(what, name, value=None):
        try:
            if what == "kill":
                os.killpg(int(name), signal.SIGKILL)
            elif what == "write":
                write(name, value)
            elif what == "swapoff":
                swapoff(int(name))
        except OSError as error:
            if what != "kill":
                print(f"density: {name} cannot be put back to {value}: {error.strerror}", file=sys.stderr)

    def tell(self, line):
        os.write(self.pipe, line.encode() + b"\n")

    def write(self, path, value):
        """Changes a file of the kernel; what it held is put back."""
        self.tell(f"write {path} {read(path)}")
        write(path, value)

    def end(self):
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


def add_swap(guard, swap_bytes):
    """Swap on a zram device of its own."""
    number = int(read(ZRAM + "hot_add"))
    guard.tell(f"swapoff {number}")
    write(f"/sys/block/zram{number}/disksize", swap_bytes)
    subprocess.run(["/usr/sbin/mkswap", f"/dev/zram{number}"], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["/usr/sbin/swapon", "-p", "100", f"/dev/zram{number}"], check=True)
    return number


def grow_pool(left_bytes):
    """Huge pages until left_bytes are available; returns what does not go into any."""
    idle = 0
    while idle < 5 and (over := available() - left_bytes) >= 16 * MIB:
        before = int(read(POOL))
        write("/proc/sys/vm/compact_memory", 1)
        write(POOL, before + over // HUGE)
        idle = 0 if int(read(POOL)) - before >= 16 else idle + 1
    return over


def reserve(guard, left_bytes):
    """Huge pages until left_bytes are available, and what does not go into any, locked. Returns
    (bytes available, bytes of those that are locked)."""
    os.sync()
    write("/proc/sys/vm/drop_caches", 3)
    guard.write(POOL, read(POOL))
    over, locked = grow_pool(left_bytes), 0
    # What was made before this is still being put away, and its memory would come on top.
    for _ in range(5):
        time.sleep(2)
        write("/proc/sys/vm/drop_caches", 3)
        over = grow_pool(left_bytes)
    if over >= 16 * MIB:
        locked = over
        guard.tell(f"lock {locked}")
    for _ in range(100):
        left = available()
        if left <= left_bytes * 1.05:
            return left, locked
        time.sleep(0.1)
    raise RuntimeError(f"{left / MIB:.0f} MiB stay available")
