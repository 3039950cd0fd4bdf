"""Write a plan as a comment on a pull request, replacing the previous plan of the same module.

comment.py NUMBER FILE, with the variables of GitHub Actions: GITHUB_API_URL, GITHUB_REPOSITORY and GITHUB_TOKEN.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

_PAGE = 100


def call(method: str, path: str, body: object = None) -> object:
    request = urllib.request.Request(
        f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def previous(number: str, marker: str) -> object:
    """The id of the comment that begins with the line ``marker``; None without one."""
    page = 1
    while comments := call("GET", f"issues/{number}/comments?per_page={_PAGE}&page={page}"):
        for comment in comments:
            if comment["body"].startswith(marker):
                return comment["id"]
        page += 1
    return None


def main(number: str, file: str) -> None:
    text = Path(file).read_text(encoding="utf-8")
    if not text:
        return
    try:
        found = previous(number, text.splitlines()[0])
        if found is None:
            call("POST", f"issues/{number}/comments", {"body": text})
        else:
            call("PATCH", f"issues/comments/{found}", {"body": text})
    except urllib.error.HTTPError as error:
        sys.exit(f"The plan was not posted as a comment: {error}. The token needs the permission pull-requests: write.")


if __name__ == "__main__":
    main(*sys.argv[1:3])
