"""`python -m notekeeper add TEXT` and `python -m notekeeper search [WORD]`, on the database of DATABASE_URL."""

from __future__ import annotations

import asyncio
import os
import sys

from .notekeeper import NoteKeeper


async def run(arguments: list[str]) -> None:
    async with NoteKeeper(os.environ["DATABASE_URL"]) as notes:
        match arguments:
            case ["add", text]:
                sys.stdout.write(f"{await notes.add(text)}\n")
            case ["search", *words] if len(words) <= 1:
                for note in await notes.search(*words):
                    sys.stdout.write(f"{note.id} {note.text}\n")
            case _:
                raise SystemExit("usage: notekeeper add TEXT | notekeeper search [WORD]")


def main() -> None:
    asyncio.run(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
