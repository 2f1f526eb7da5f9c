"""Starts an image's program with what every start computes, computed when the image was built.

    python -I -S -OO start.pyc [FLAGS]

Almost half of a start's processor time goes into what is the same in each container: modules are looked for
in directories; methods of data classes and of named tuples, and regular expressions, are compiled.
`start_data.py` does this once, and writes the results beside this file. The code that runs is the same. What
is not in the results is found and compiled as usual, and so is all that is imported after the start.
"""

# Only what the interpreter has loaded already: everything else is imported by `KnownModules`.
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader

_PYC_HEADER_BYTES = 16


class KnownModules:
    """Finds modules in a list, and loads them."""

    def __init__(self, modules: dict[str, tuple[str, str, str, int] | None]) -> None:
        """`modules` has each one's file, a package's directory or '', and its bytecode's file and length; an
        extension module's are '' and 0. It has None for a module that is not there."""
        self._modules = modules

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name not in self._modules:
            return None
        if self._modules[name] is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        path, directory, bytecode, _ = self._modules[name]
        spec = ModuleSpec(name, self if bytecode else ExtensionFileLoader(name, path), origin=path)
        spec.has_location, spec.cached = True, bytecode or None
        if directory:
            spec.submodule_search_locations = [directory]
        return spec

    def create_module(self, _: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: type(sys)) -> None:
        _, _, path, length = self._modules[module.__name__]
        bytecode = memoryview(_content(path, length))[_PYC_HEADER_BYTES:]
        exec(marshal.loads(bytecode), module.__dict__)  # noqa: S102, S302 - as an import does


def program() -> type(sys):
    """The program's module, and nothing of the way to it."""
    path = f"{__file__.removesuffix('pyc')}data"
    known = marshal.loads(_content(path, posix.stat(path).st_size))  # noqa: S302 - the image's own
    sys.path.append(known["packages"])  # what `site` does, with more that is of no use here
    finder = KnownModules(known["modules"])
    sys.meta_path.insert(0, finder)
    import gc

    gc.disable()  # there is nothing to collect: what an import makes stays
    imported(known["imports"], known["sources"], known["patterns"])
    gc.freeze()
    gc.enable()
    sys.meta_path.remove(finder)
    known["modules"].clear()  # each module refers to its finder
    return sys.modules[known["imports"][-1]]


def imported(names: tuple[str, ...], sources: dict, patterns: dict) -> None:
    """Imports the modules, in which `sources` and `patterns` need not be compiled."""
    import collections
    from re import _compiler

    compile_pattern = _compiler.compile

    def pattern(text: object, flags: int = 0) -> object:
        known = patterns.get((text, flags))
        return _compiler._sre.compile(text, *known) if known else compile_pattern(text, flags)  # noqa: SLF001

    _compiler.compile = pattern
    collections.eval = lambda text, names: eval(sources.get(text, text), names)  # noqa: S307
    import dataclasses
    import inspect

    # A data class without a docstring, which -OO removes, gets one with its signature: a tenth of the start.
    dataclasses.inspect = Undocumented
    dataclasses.exec = lambda text, names, made: exec(sources.get(text, text), names, made)  # noqa: S102
    for name in names:
        __import__(name)
    del collections.eval, dataclasses.exec
    dataclasses.inspect = inspect
    _compiler.compile = compile_pattern


class Undocumented:
    """What `dataclasses` takes of `inspect`."""

    @staticmethod
    def signature(_: type) -> str:
        return ""


def _content(path: str, length: int) -> bytes:
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    content = posix.read(file, length)
    posix.close(file)
    return content


if __name__ == "__main__":
    program().main()
