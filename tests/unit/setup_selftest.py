"""tools/setup and its list: well-formed, probes that tell the truth, clear words where dpkg is not.

A PATH made of links to chosen programs stands for a machine without Debian's package tools.
"""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SETUP = os.path.join(ROOT, "tools", "setup")
PLAIN = ["sh", "awk", "cat", "dirname", "id", "cc", "as", "ld", "pkg-config"]


def entries():
    with open(os.path.join(ROOT, "tools", "packages.txt"), encoding="utf-8") as file:
        return [line.split() for line in file if line.strip() and not line.startswith("#")]


def commands(role):
    roles = {"run": ["run"], "test": ["run", "test"]}[role]
    return [probe.split(":")[1] for at, _, probe in entries()
            if at in roles and probe.startswith("command:")]


class Setup(unittest.TestCase):
    def without_dpkg(self, programs, role):
        with tempfile.TemporaryDirectory() as folder:
            for name in set(PLAIN + programs):
                target = shutil.which(name)
                self.assertIsNotNone(target, name)
                os.symlink(target, os.path.join(folder, name))
            done = subprocess.run([SETUP, role], env={"PATH": folder}, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            return done.returncode, done.stdout

    def test_the_list_is_well_formed(self):
        seen = set()
        for entry in entries():
            self.assertEqual(len(entry), 3, entry)
            role, package, probe = entry
            self.assertIn(role, ("run", "test", "full"))
            self.assertRegex(package, r"^[a-z0-9][a-z0-9+.-]+$")
            self.assertRegex(probe, r"^(command|module|header|file):\S+$")
            self.assertNotIn(package, seen)
            seen.add(package)

    def test_it_goes_on_when_every_tool_is_there(self):
        status, output = self.without_dpkg(commands("test"), "test")
        self.assertEqual((status, output), (0, "setup: everything needed is here\n"))

    def test_it_names_what_is_missing(self):
        programs = [name for name in commands("run") if name not in ("ninja", "cmake")]
        status, output = self.without_dpkg(programs, "run")
        self.assertEqual(status, 1)
        named = re.findall(r"missing command:(\w+) \(on Debian: package ([\w-]+)\)", output)
        self.assertEqual(named, [("cmake", "cmake"), ("ninja", "ninja-build")])

    def test_an_unknown_role_is_refused(self):
        done = subprocess.run([SETUP, "everything"], text=True, check=False,
                              stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn('unknown role "everything"', done.stderr)


if __name__ == "__main__":
    unittest.main()
