# SPDX-License-Identifier: Apache-2.0
"""Guests of the part density under vmm, on the emulated host: they boot, for nothing saved is started."""
import os

from density_guest import MEMORY_MIB, Images, Worker


class VmmWorker(Worker):
    def words(self, images, balloon, _, data):
        # Who manages the guest and the bench share its monitor.
        os.symlink(f"{self.name}.qmp", self.path)
        return ["vmm", "--name", self.name, "--memory", f"size={MEMORY_MIB}M", "--no-reboot",
                "--kernel", f"{images.lab}/vmlinux", "--initrd", f"{images.lab}/initrd",
                "--append", "console=ttyS0 quiet panic=-1 mitigations=off root=/dev/vda",
                "--balloon", balloon.lstrip(",") or "on", "--disk", f"path={images.root},readonly=on",
                *(["--disk", f"path={data},readonly=on"] if data else []),
                "--serial", f"unix:{self.directory}/{self.name}.console", "--qmp", f"{self.directory}/{self.name}.qmp"]

    def begin(self, meanwhile):
        """meanwhile(): reads what the others print, or they stand still."""
        self.await_text("GUEST READY", 300, meanwhile)
        self.send("work warm")
        self.await_text("W warm", 300, meanwhile)
        self.send(self.job())


class VmmImages(Images):
    worker = VmmWorker

    def __init__(self, directory, build):
        self.lab, self.dir, self.work = "/lab", directory, build + "/tests/work"
        self.root, self.states = directory + "/root.img", [None]
        if not os.path.exists(self.root):
            self.make_root()
