"""Completion in the shell: `vkube __complete WORDS…` prints what may stand in the place of the last word."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from vkube.command_line.commands import all_commands, find
from vkube.command_line.program import parser_of, split

_BASH = """\
# bash completion of vkube: source <(vkube completion bash)
_vkube() {
    local IFS=$'\\n'
    COMPREPLY=($(vkube __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _vkube vkube
"""
_ZSH = """\
#compdef vkube
# zsh completion of vkube: source <(vkube completion zsh), after compinit
_vkube() {
    local -a found
    found=("${(@f)$(vkube __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _vkube vkube
"""
_FISH = """\
# fish completion of vkube: vkube completion fish | source
function __vkube_complete
    set -l words (commandline -opc) (commandline -ct)
    vkube __complete $words[2..-1] 2>/dev/null
end
complete -c vkube -a '(__vkube_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def candidates(words: Sequence[str]) -> list[str]:
    """What may complete the last of `words`; nothing where a file or a name is expected."""
    begun = words[-1] if words else ""
    _, given = split(words[:-1])
    command = find(given)
    longer = [
        one.words[len(given)]
        for one in all_commands()
        if one.words[: len(given)] == tuple(given) and len(one.words) > len(given)
    ]
    if command is None:
        return _begun(begun, longer)
    parser, _ = parser_of(command)
    before = words[-2] if len(words) > 1 else ""
    for action in parser._actions:  # noqa: SLF001 - argparse publishes its arguments in no other way
        if before in action.option_strings and action.nargs != 0:
            return _begun(begun, action.choices or ())
    if begun.startswith("-"):
        return _begun(begun, [one for action in parser._actions for one in action.option_strings])  # noqa: SLF001
    # `audit` is a command, and `audit verify` is another.
    return _begun(begun, [*longer, *_choices(parser)])


def _choices(parser: argparse.ArgumentParser) -> Iterable[str]:
    """What the arguments without an option may be."""
    for action in parser._actions:  # noqa: SLF001
        if not action.option_strings and action.help != argparse.SUPPRESS:
            yield from map(str, action.choices or ())


def _begun(begun: str, words: Iterable[object]) -> list[str]:
    return sorted({str(word) for word in words if str(word).startswith(begun)})
