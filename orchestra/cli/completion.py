"""``orchestra completion``: make a shell complete what is typed after ``orchestra``."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from orchestra.cli import terminal
from orchestra.errors import UserError, text_of_os_error

Shell: TypeAlias = Literal["bash", "zsh", "fish"]
SHELLS: tuple[Shell, ...] = ("bash", "zsh", "fish")

BASH = """\
_orchestra_completion() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(command orchestra complete-words bash "$COMP_WORDBREAKS" -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace
    fi
}
complete -F _orchestra_completion orchestra
"""
ZSH = """\
#compdef orchestra
_orchestra_completion() {
    local -a words_only described open_words open_described
    local word text
    while IFS=$'\\t' read -r word text; do
        if [[ $word == *[=/] ]]; then
            open_words+=("$word")
            open_described+=("$word${text:+  -- $text}")
        else
            words_only+=("$word")
            described+=("$word${text:+  -- $text}")
        fi
    done < <(command orchestra complete-words zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#words_only )) && compadd -l -d described -a words_only
    (( $#open_words )) && compadd -l -S '' -d open_described -a open_words
}
if [[ $funcstack[1] == _orchestra ]]; then
    _orchestra_completion "$@"
else
    compdef _orchestra_completion orchestra
fi
"""
FISH = """\
function _orchestra_completion
    set -l words (commandline -opc) (commandline -ct)
    command orchestra complete-words fish -- $words[2..-1] 2>/dev/null
end
complete -c orchestra -f -a '(_orchestra_completion)'
"""
SCRIPTS: dict[Shell, str] = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completion(
    *,
    shell: Annotated[Shell | None, Parameter(alias="-s", help="bash, zsh or fish; yours by default.")] = None,
    install: Annotated[bool, Parameter(help="Set it up for good, and say where.")] = False,
) -> int:
    """Print what a shell needs to complete verbs, options, operations, flags and runs.

    Try it with 'source <(orchestra completion)', or 'orchestra completion | source' in fish.
    """
    wanted = shell or _own_shell()
    if not install:
        terminal.write(SCRIPTS[wanted])
        return 0
    path = _install(wanted)
    terminal.write(f"Installed in '{path}'. Start a new shell to use it.\n")
    return 0


def _own_shell() -> Shell:
    name = os.path.basename(os.environ.get("SHELL", ""))
    for shell in SHELLS:
        if name == shell:
            return shell
    raise UserError("can't tell which shell you use", f"Name it with --shell: {', '.join(SHELLS)}.")


def _install(shell: Shell) -> Path:
    home = Path(os.path.expanduser("~"))
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    try:
        if shell == "fish":
            path = config / "fish" / "completions" / "orchestra.fish"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FISH)
            return path
        path = home / ".bashrc" if shell == "bash" else Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
        _add_line(path, _start_up_line(shell), rf"orchestra'? completion --shell {shell}\)")
    except OSError as error:
        raise UserError(f"can't set it up: {text_of_os_error(error)}") from error
    return path


def _start_up_line(shell: Shell) -> str:
    """What sets it up in a new shell, where orchestra may be in no PATH yet, or no longer there."""
    found = shutil.which("orchestra")
    command, condition = "orchestra", "command -v orchestra >/dev/null"
    if found is not None:
        command = shlex.quote(os.path.abspath(found))
        condition = f"[ -x {command} ]"
    return f'if {condition}; then eval "$({command} completion --shell {shell})"; fi\n'


def _add_line(path: Path, line: str, earlier: str) -> None:
    """Add a line at the end of a file of the user's, in place of one that ``earlier`` describes."""
    # Whatever its encoding is: it is the user's.
    text = path.read_bytes() if path.exists() else b""
    new = os.fsencode(line)
    for old in text.splitlines(keepends=True):
        if re.search(earlier.encode(), old):
            if old != new:
                path.write_bytes(text.replace(old, new))
            return
    with path.open("ab") as file:
        file.write((b"" if not text or text.endswith(b"\n") else b"\n") + new)
