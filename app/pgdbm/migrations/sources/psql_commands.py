"""psql commands in a file: those that have no effect here, and what to do about the others. Pure."""

from __future__ import annotations

import re

from ...pgparse.lexer import possessive

# Variables that only affect psql's output, or that set what the engine does by default.
_VARIABLES = (
    "COMP_KEYWORD_CASE|ECHO|ECHO_HIDDEN|FETCH_COUNT|HIDE_TABLEAM|HIDE_TOAST_COMPRESSION|HISTCONTROL|HISTFILE|HISTSIZE"
    "|IGNOREEOF|ON_ERROR_STOP|PROMPT[123]|QUIET|SHOW_ALL_RESULTS|SHOW_CONTEXT|VERBOSITY"
)
_SHOWING = r"conninfo|copyright|d\w*[+S]*|echo|l\+?|qecho|s[fv]\+?|timing|warn|z"
_HOW_TO_SHOW = "a|C|f|H|pset|t|T|x"
# Up to the end of the line. A backslash outside quotes is the next command.
_QUOTED = r"'(?:[^'\n\\]|\\[^\n])*'"
_ARGUMENTS = r"(?:[ \t](?:[^\n\\]*+|" + possessive(rf"(?:{_QUOTED}|[^\n\\'])*") + r"))?"
WITHOUT_EFFECT = re.compile(
    rf"^[ \t]*\\(?:(?:{_SHOWING}|{_HOW_TO_SHOW}|unset){_ARGUMENTS}|set(?:[ \t]+(?:{_VARIABLES})\b{_ARGUMENTS})?"
    r"|encoding(?:[ \t]+'?(?i:UTF-?8|UNICODE)'?)?"
    # pg_dump writes these to disable psql's commands in its output.
    r"|(?:un)?restrict[ \t]+\S+)[ \t]*\r?$",
    re.MULTILINE,
)
"""A line with a command that only shows something, sets how psql shows it, or sets a default."""

_COMMAND = re.compile(r"\\(\w+|\S)")
_SEMICOLON = "psql uses it to send a statement: end the statement with `;`."
_CONDITION = "psql conditions are not evaluated: write the SQL of one branch, or a DO block with IF."
_OTHER_FILE = "The file that psql would read here is not read: replace the line with its content."
_OTHER_DATABASE = "A migration runs in one database: remove the line, and apply files for another "
"database to that database."
_ADVICE = {
    **dict.fromkeys(("i", "include", "include_relative", "ir"), _OTHER_FILE),
    **dict.fromkeys(("c", "connect"), _OTHER_DATABASE),
    **dict.fromkeys(("elif", "else", "endif", "if"), _CONDITION),
    **dict.fromkeys(("crosstabview", "g", "gdesc", "gset", "gx", "watch"), _SEMICOLON),
    **dict.fromkeys(("gset", "prompt", "set", "setenv"), "Variables of psql are not substituted: write the value."),
    "copy": "It reads or writes a file on the client: write COPY … FROM stdin with the rows on the next lines.",
    "encoding": "Files are read as UTF-8: save it as UTF-8, and remove the line.",
    "gexec": "The rows are not executed: write a DO block with EXECUTE.",
    "!": "Shell commands are not run.",
}


def advice_on(text: str, offset: int) -> str | None:
    """What to do about the psql command at ``offset``; None if there is none."""
    found = _COMMAND.match(text, offset)
    if found is None:
        return None
    advice = _ADVICE.get(found[1], "Remove it.")
    return f"{found[0]} is a psql command, not SQL. {advice}"
