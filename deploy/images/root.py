"""Assembles the content of a final image, within the build stage of its container file.

    python root.py interpreter ENVIRONMENT ROOT [--without MODULES]... [--user UID] [--optimize LEVEL]
    python root.py program ENVIRONMENT ROOT PACKAGE|MODULE... [--optimize LEVEL]

The first writes into ROOT the interpreter that runs this, the standard library, the virtual environment
ENVIRONMENT with its packages, and the shared libraries that all of these load. Nothing else is in the image:
no shell, package manager or tool that an intruder could use or a node would have to pull. The second writes
our own packages into a separate layer, so that a change to them leaves the large layer unchanged.

Libraries are stored as bytecode only (half the size); our own packages keep their sources, so that a
traceback shows the line. Bytecode is checked against neither time nor source, because the root file system is
read-only. All times are zero: equal inputs give equal layers. The interpreter and `ldd` state where files
are, so nothing depends on the paths of one base image (/usr/local in python:3.11-slim, /usr in Debian's own).
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from py_compile import PycInvalidationMode

# Parts of the standard library: none of our programs tests, draws, installs, debugs, or uses these protocols.
_NOT_NEEDED = """
    dist-packages site-packages EXTERNALLY-MANAGED __phello__ test unittest doctest _pyio _pydecimal
    _osx_support idlelib tkinter _tkinter turtle turtledemo curses _curses _curses_panel readline
    webbrowser this antigravity distutils ensurepip lib2to3 msilib venv pdb bdb cProfile profile pstats
    trace tabnanny modulefinder pyclbr pickletools cgi cgitb xml xmlrpc plistlib mailbox mailcap imaplib
    nntplib poplib smtpd smtplib telnetlib ftplib asyncore asynchat aifc audioop chunk imghdr
    ossaudiodev sndhdr sunau wave uu xdrlib dbm _dbm _gdbm nis spwd crypt _crypt pydoc_data _codecs_cn
    _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _multibytecodec _ctypes_test _lsprof
    _testbuffer _testcapi _testclinic _testimportmultiple _testinternalcapi _testmultiphase
    _xxsubinterpreters _xxtestfuzz xxlimited xxlimited_35
"""
# Parts of packages: cryptography needs cffi's extension module, which is a separate file, and not its
# compiler.
_NOT_NEEDED_PACKAGES = frozenset(("test", "tests", "_testcapi", "_virtualenv", "cffi", "pycparser"))
_NO_SOURCES = (".pyc", ".pyi", ".a", ".h", ".c", ".pyx", ".pxd", ".proto")
# Our own packages consist of modules, some of them in machine code, and JSON Schemas. A developer's checkout
# may contain other files too.
_OF_OURS = (".py", ".so", ".json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("interpreter", "program"))
    parser.add_argument("environment", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("packages", type=Path, nargs="*")
    parser.add_argument("--without", action="append", default=[], help="names, or patterns of names")
    parser.add_argument(
        "--optimize", type=int, default=0, help="as Python's -O; the program must have it too"
    )
    parser.add_argument("--user", type=int, default=65532)
    given = parser.parse_args()
    if given.what == "interpreter":
        without = frozenset(" ".join(given.without).split())
        _interpreter(given.environment, given.root, without, given.user, given.optimize)
    else:
        _program(given.environment, given.root, given.packages, given.optimize)
    for path in (given.root, *given.root.rglob("*")):
        os.utime(path, (0, 0), follow_symlinks=False)


def _interpreter(environment: Path, root: Path, without: frozenset[str], user: int, optimize: int) -> None:
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    _copy(interpreter, root)
    packages = _packages_of(environment)
    _copy_tree(library, root, without.union(_NOT_NEEDED.split()))
    _copy_tree(packages, root, without | _NOT_NEEDED_PACKAGES)
    for directory in (library, packages):
        _to_bytecode(_within(root, directory), root, optimize, keep_sources=False)
    _copy(environment / "pyvenv.cfg", root)
    binaries = _within(root, environment / "bin")
    binaries.mkdir()
    (binaries / "python").symlink_to(interpreter)
    _copy_shared_libraries(root)
    _output("strip", "--strip-unneeded", *_binaries(root))
    for name in ("os-release", "debian_version"):
        _copy(Path("/etc", name), root)
    etc = root / "etc"
    (etc / "passwd").write_text(f"vanadium:x:{user}:{user}::/:/sbin/nologin\n")
    (etc / "group").write_text(f"vanadium:x:{user}:\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


def _program(environment: Path, root: Path, packages: Iterable[Path], optimize: int) -> None:
    target = _within(root, _packages_of(environment))
    for package in packages:
        sources = sorted(package.rglob("*")) if package.is_dir() else [package]
        for source in (path for path in sources if path.suffix in _OF_OURS):
            copy = target / source.relative_to(package.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    _to_bytecode(target, root, optimize, keep_sources=True)
    if compiled := _binaries(root):
        _output("strip", "--strip-unneeded", *compiled)


def _packages_of(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*/site-packages"))


def _within(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _copy(path: Path, root: Path) -> None:
    copy = _within(root, path)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, copy)


def _copy_tree(directory: Path, root: Path, without: frozenset[str]) -> None:
    """`without` names modules, at any depth: files by what stands before their first dot, and directories."""

    def ignored(_: str, names: list[str]) -> list[str]:
        return [
            name
            for name in names
            if any(fnmatchcase(name.split(".")[0], one) for one in without)
            or name == "__pycache__"
            or name.startswith("config-")
            or name.endswith(_NO_SOURCES)
        ]

    # Links are followed: Debian's library has some that lead into /etc. A dangling link belongs to no module.
    shutil.copytree(directory, _within(root, directory), ignore=ignored, ignore_dangling_symlinks=True)


def _to_bytecode(directory: Path, root: Path, optimize: int, *, keep_sources: bool) -> None:
    compiled = compileall.compile_dir(
        directory,
        maxlevels=50,
        quiet=1,
        legacy=not keep_sources,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        optimize=optimize,
    )
    if not compiled:
        sys.exit(f"not everything under {directory} could be compiled; see above")
    if not keep_sources:
        for source in directory.rglob("*.py"):
            source.unlink()


def _copy_shared_libraries(root: Path) -> None:
    """Copies the libraries that ldd lists for every program and extension module, and the loader's cache."""
    for name in ("lib", "lib64"):  # on current Debian merged into /usr: paths below them go through the link
        if Path("/", name).is_symlink():
            (root / name).symlink_to(os.readlink(f"/{name}"))
    listed = _output("ldd", *_binaries(root))
    if missing := re.findall(r"^\s*(\S+) => not found", listed, re.MULTILINE):
        sys.exit(f"shared libraries that are not installed: {', '.join(sorted(set(missing)))}")
    for found in sorted(set(re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", listed, re.MULTILINE))):
        path = Path(found).parent.resolve() / Path(found).name
        if not path.is_relative_to(root):
            _copy(path, root)
            if not path.is_relative_to("/usr/local"):  # no Debian package has files there
                _record_origin(Path(found), root)
    _copy(Path("/etc/ld.so.conf"), root)
    shutil.copytree("/etc/ld.so.conf.d", root / "etc/ld.so.conf.d")
    _output("/sbin/ldconfig", "-X", "-r", root)


def _record_origin(library: Path, root: Path) -> None:
    """Records Debian's release and the library's package, for scanners that look for known vulnerabilities.

    It writes where they look in images without a package manager, in the format of distroless images.
    """
    # Debian's packages give a library's path either before or after the merge of /lib into /usr/lib.
    names = {library, library.resolve(), Path("/", *library.resolve().parts[2:])}
    asked = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=False)  # noqa: S607
    found = re.search(r"^([a-z0-9.+-]+)(?::\w+)?: /", asked.stdout, re.MULTILINE)
    if not found:
        sys.exit(f"no Debian package has {library}: {asked.stderr}")
    records = root / "var/lib/dpkg/status.d"
    records.mkdir(parents=True, exist_ok=True)
    (records / found[1]).write_text(_output("dpkg-query", "--status", found[1]))


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr}")
    return done.stdout


def _binaries(root: Path) -> list[Path]:
    def is_elf(path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"

    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and is_elf(path)]


if __name__ == "__main__":
    main()
