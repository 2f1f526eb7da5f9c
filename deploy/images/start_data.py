"""Writes what `start.py` starts a program with. It runs in the assembled image, with the flags of its start:

    python -I -S -OO start_data.py PROGRAM DIRECTORY

It imports the module PROGRAM, and notes what that loads and compiles. Below DIRECTORY, to be copied into the
image, it writes `start.pyc` and `start.data`, for the directory of the interpreter's virtual environment. The
latter is a marshalled dictionary:

packages    the directory of the libraries and of our own packages
imports     the modules to import; the last one is the program
modules     those that are loaded or were not there, as `start.KnownModules` takes them
sources     the code objects of the methods of data classes and named tuples, by their source
patterns    what `_sre.compile` takes besides a regular expression, by this and its flags
"""

# Only what the interpreter has loaded already: all else is noted.
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder

# What the first connection loads besides: the codec by which the name of a server is encoded.
_LATER = ("encodings.idna",)
CodeType = type(compile("", "", "exec"))

_sources: dict[str, CodeType] = {}
_patterns: dict[tuple[str | bytes, int], tuple[object, ...]] = {}


def main() -> None:
    program, target = sys.argv[1:]
    modules = NotedModules()
    sys.meta_path.insert(sys.meta_path.index(PathFinder), modules)
    _note_what_is_compiled()
    from pathlib import Path

    environment = Path(sys.executable).parent.parent
    packages = f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    sys.path.append(packages)
    imports = (*_LATER, program)
    for name in imports:
        __import__(name)
    known = {"packages": packages, "imports": imports, "modules": modules.modules}
    place = Path(target) / environment.relative_to("/")
    place.mkdir(parents=True)
    # Version 2 of the format writes an object that occurs again once more. Later ones write a reference, but
    # only if others refer to the object too, so that equal inputs would not give equal images.
    data = marshal.dumps(known | {"sources": _sources, "patterns": _patterns}, 2)
    (place / "start.data").write_bytes(data)
    import os
    import py_compile

    py_compile.compile(
        str(Path(__file__).with_name("start.py")),
        str(place / "start.pyc"),
        dfile=f"{environment}/start.py",
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for path in (Path(target), *Path(target).rglob("*")):
        os.utime(path, (0, 0))


def _note_what_is_compiled() -> None:
    """Makes `collections`, `re` and `dataclasses` note what they compile."""

    def noted(source: str, mode: str) -> CodeType:
        return _sources.setdefault(source, compile(source, "<string>", mode))

    import collections
    from re import _compiler

    collections.eval = lambda source, names: eval(noted(source, "eval"), names)  # noqa: S307
    compile_pattern, sre_compile = _compiler.compile, _compiler._sre.compile  # noqa: SLF001

    def pattern(text: str | bytes, flags: int = 0) -> object:
        def noting(_: object, all_flags: int, code: list[int], *others: object) -> object:
            # Some are of subclasses of int, which cannot be marshalled.
            _patterns[text, flags] = (int(all_flags), [int(one) for one in code], *others)
            return sre_compile(text, *_patterns[text, flags])

        _compiler._sre.compile = noting  # noqa: SLF001
        try:
            return compile_pattern(text, flags)
        finally:
            _compiler._sre.compile = sre_compile  # noqa: SLF001

    _compiler.compile = pattern
    import dataclasses

    dataclasses.exec = lambda source, names, made: exec(noted(source, "exec"), names, made)  # noqa: S102


class NotedModules:
    """Finds modules as usual, and notes them as `start.KnownModules` takes them."""

    def __init__(self) -> None:
        self.modules: dict[str, tuple[str, str, str, int] | None] = {}

    def find_spec(self, name: str, *where: object) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, *where)
        if found is None:
            self.modules[name] = None
        else:
            directory = next(iter(found.submodule_search_locations or ()), "")
            length = posix.stat(found.cached).st_size if found.cached else 0
            self.modules[name] = (found.origin, directory, found.cached or "", length)
        return found


if __name__ == "__main__":
    main()
