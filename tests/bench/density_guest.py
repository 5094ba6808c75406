# SPDX-License-Identifier: Apache-2.0
"""Guests of the part density: stock Debian guests under QEMU, in any number. Some boot, once, and are
saved as after days of use; every guest of the bench is started from one of those in a second, gets
its own contents and does its kind of work (tests/guest/work.c) at a fixed rate.
"""
import glob
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time

from guest import MIB, Guest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
MEMORY_MIB = 256
IMAGES = 8  # that have booted by themselves: what is alike in guests is then no more than it is
# Everything goes so many times slower, for a slow processor.
SLOWER = int(os.environ.get("BENCH_SLOWER", "2"))
# Operations a second, as in work.c; "build" on average.
RATES = {kind: rate / SLOWER for kind, rate in {"web": 3, "build": 0.5, "store": 10, "reader": 8}.items()}
KINDS = list(RATES)
BALLOON = "/machine/peripheral/balloon0"


def has_kvm():
    """Whether stock kernels run under this machine's KVM."""
    with open("/proc/cpuinfo") as f:
        return os.path.exists("/dev/kvm") and re.search(r"^flags.*\b(vmx|svm)\b", f.read(), re.M) is not None


def accelerator():
    """For TCG: a translation buffer small enough that the process is its guest's memory and little
    else; no byte-wise string instructions, which TCG runs byte by byte."""
    if has_kvm():
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,tb-size=16", "-cpu", "max,-la57,-cx16,-smap,-pku,-pks,-erms,-fsrm"]


class Debian(Guest):
    """One guest. images: where root.img is; state: what it starts from, None: it boots."""
    def __init__(self, name, directory, images, balloon="", state=None, data=None):
        self.name, self.text, self.id, self.rest, self.directory = name, "", 0, b"", directory
        console = f"{directory}/{name}.console"
        self.path = f"{directory}/{name}.ctl"
        argv = ["choom", "-n", "1000", "--", "setpriv", "--pdeathsig", "KILL"] + self.words(images, balloon, state, data)
        self.errors = open(f"{directory}/{name}.err", "w")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors)
        self.wait_for(f"{name}: monitor", self.can_connect, 20)
        self.console = socket.socket(socket.AF_UNIX)
        self.console.connect(console)
        self.console.setblocking(False)

    def words(self, images, balloon, state, data):
        """The hypervisor's command line."""
        name, directory, lab = self.name, self.directory, images.lab
        drive = (f"file={data},format=raw,cache=none" if data else "driver=null-co,size=64M,read-zeroes=on") + ",readonly=on"
        argv = ["qemu-system-x86_64", "-name", name, "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot", "-smp", "1", "-m", f"{MEMORY_MIB}M", "-machine", "q35,vmport=off,memory-backend=ram0",
                "-object", f"memory-backend-ram,id=ram0,size={MEMORY_MIB}M,merge=on",
                "-device", f"virtio-balloon-pci,id=balloon0{balloon}", "-device", "virtio-rng-pci",
                "-device", "virtio-blk-pci,drive=root", "-device", "virtio-blk-pci,drive=data",
                "-drive", f"if=none,id=root,format=raw,readonly=on,file={images.root}",
                "-drive", f"if=none,id=data,{drive}",
                "-kernel", f"{lab}/vmlinux", "-initrd", f"{lab}/initrd",
                "-append", "console=ttyS0 quiet panic=-1 mitigations=off root=/dev/vda",
                # One monitor for who manages the guest, one for the bench.
                "-qmp", f"unix:{directory}/{name}.qmp,server=on,wait=off",
                "-qmp", f"unix:{self.path},server=on,wait=off",
                "-chardev", f"socket,id=console,path={directory}/{name}.console,server=on,wait=off",
                "-serial", "chardev:console"] + accelerator()
        if state:
            # Past the page cache, which is scarce.
            argv += ["-incoming", f"exec:dd if={state} iflag=direct bs=1M status=none"]
        return argv

    def can_connect(self):
        if self.process.poll() is not None:
            with open(self.errors.name) as f:
                raise RuntimeError(f"{self.name} ended: {f.read()}")
        try:
            self.connect()
        except OSError:
            return False
        return True

    def alive(self):
        return self.process.poll() is None

    def last_words(self):
        """Of a process that has ended."""
        with open(self.errors.name) as f:
            return f"status {self.process.poll()} {f.read().strip()}"

    def send(self, line):
        self.console.sendall(line.encode() + b"\n")

    def new_text(self):
        """What it has printed since the last call, whole lines. Who does not call holds the guest up."""
        data = self.rest
        try:
            while more := self.console.recv(65536):
                data += more
        except OSError:
            pass
        end = data.rfind(b"\n") + 1
        self.rest = data[end:]
        return data[:end].decode(errors="replace")

    def await_text(self, pattern, limit, meanwhile=None):
        text = ""

        def is_there():
            nonlocal text
            if meanwhile:
                meanwhile()
            text += self.new_text()
            if not self.alive():
                raise RuntimeError(f"{self.name}: ended: {text[-300:]}")
            return re.search(pattern, text)
        self.wait_for(f"{self.name}: '{pattern}'", is_there, limit, 0.2)

    def memory(self):
        """(resident, saved by page merging) bytes of its process."""
        try:
            with open(f"/proc/{self.process.pid}/smaps_rollup") as f:
                value = {w[0]: int(w[1]) * 1024 for w in map(str.split, f) if len(w) == 3}
            return value["Rss:"], value["Anonymous:"] - value["Pss_Anon:"]
        except (OSError, KeyError):
            return 0, 0

    def cpu_seconds(self):
        try:
            with open(f"/proc/{self.process.pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()
        self.console.close()


class Worker(Debian):
    """A guest at work, from a saved one."""
    def __init__(self, number, directory, images, balloon):
        self.kind, self.number = KINDS[number % len(KINDS)], number
        state = images.states[number // len(KINDS) % len(images.states)]
        data = images.data(number) if self.kind == "reader" else None
        super().__init__(f"{self.kind}{number}", directory, images, balloon, state, data)
        self.done, self.ooms = 0, 0

    def begin(self, _):
        self.wait_for(f"{self.name}: running", lambda: self.call("query-status")["status"] == "running", 60)
        self.send(f"cd /sys/bus/virtio/drivers/virtio_balloon && echo $(cat /run/balloon) >bind; cd /; {self.job()}")

    def job(self):
        return f"work {self.kind} {self.number + 1} /dev/vdb {SLOWER}"

    def read(self):
        """[latency in s, ...] of the operations that it told of since the last call. Sets ooms; a
        guest whose work has failed is one whose operations do not come."""
        out = []
        for line in self.new_text().splitlines():
            words = line.split()
            if "Out of memory" in line or "oom-kill" in line:
                self.ooms = max(self.ooms, 1)
            if len(words) > 2 and words[0] == "W" and words[1].isdigit():
                self.done, self.ooms = int(words[1]), max(self.ooms, int(words[2]))
                out += [int(w) / 1e6 for w in words[3:]]
            elif words[:2] == ["W", "failed:"]:
                print(f"  {self.name}: {line}", flush=True)
        return out


class Images:
    """What guests start from, made once and kept under build/bench/density, keyed by its recipe."""
    worker = Worker

    def __init__(self, build):
        work = build + "/tests/work"
        lab = subprocess.run([TOP + "/tests/lab/lab", "image", "--print"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout.strip()
        key = hashlib.sha256(os.path.basename(lab).encode() + repr(accelerator()).encode())
        for name in (__file__, work):
            with open(name, "rb") as f:
                key.update(f.read())
        self.lab = lab + "/lab"
        self.dir = f"{build}/bench/density/images-{key.hexdigest()[:16]}"
        self.root, self.work = self.dir + "/root.img", work
        self.states = [f"{self.dir}/{i}.state" for i in range(IMAGES)]
        if not all(map(os.path.exists, self.states)):
            for old in glob.glob(f"{build}/bench/density/images-*"):
                shutil.rmtree(old)
            os.makedirs(self.dir)
            self.make()

    def make(self):
        print(f"density: booting and saving {IMAGES} Debian guests, once (a minute or two)", flush=True)
        self.make_root()
        at_once = os.cpu_count() or 1
        for first in range(0, IMAGES, at_once):
            guests = [Debian(f"image{i}", self.dir, self) for i in range(first, min(first + at_once, IMAGES))]
            try:
                for guest in guests:
                    guest.await_text("GUEST READY", 120)
                    guest.send("work warm")
                for guest in guests:
                    guest.await_text("W warm", 180)
                    # Its balloon is bound again when it starts, with the features it is to have then.
                    guest.send("cd /sys/bus/virtio/drivers/virtio_balloon; echo virtio* >/run/balloon; "
                               "cat /run/balloon >unbind; cd /; echo SAVE $(cat /run/balloon)")
                    guest.await_text("SAVE virtio", 20)
                    time.sleep(1)
                    self.save(guest)
            finally:
                for guest in guests:
                    guest.kill()
        for name in glob.glob(self.dir + "/image*"):
            os.remove(name)

    def make_root(self):
        """The disk of all guests: the lab's Debian with `work` in it."""
        subprocess.run(["cp", "--sparse=always", self.lab + "/guest.img", self.root], check=True)
        for request in (f"write {self.work} /usr/bin/work", "sif /usr/bin/work mode 0100755"):
            subprocess.run(["debugfs", "-w", "-R", request, self.root], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=True, env=dict(os.environ, PATH="/usr/sbin:" + os.environ["PATH"]))

    def save(self, guest):
        state = f"{self.dir}/{guest.name[len('image'):]}.state"
        guest.call("migrate-set-parameters", max_bandwidth=4 << 30)
        guest.call("migrate", uri=f"exec:cat >{state}.new")

        def is_saved():
            status = guest.call("query-migrate").get("status")
            if status == "failed":
                raise RuntimeError(f"{guest.name} cannot be saved")
            return status == "completed"
        guest.wait_for("saving", is_saved, 120)
        os.rename(state + ".new", state)

    def data(self, number):
        """What the reader of that number reads: a file like no other's."""
        path = f"{self.dir}/data-{number}.raw"
        if not os.path.exists(path):
            with open(path + ".new", "wb") as f:
                subprocess.run([self.work, "data", str(number)], stdout=f, check=True)
            os.rename(path + ".new", path)
        return path
