"""The parts of GitHub Actions and GitLab CI that the action and the component use, and a code host with comments."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.support.http_server import served

if TYPE_CHECKING:
    from collections.abc import Mapping

INTEGRATIONS = Path(__file__).parents[2] / "integrations"
DEADLINE_S = 60

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_TERM = re.compile(r"always\(\)|'[^']*'|==|&&|[\w.-]+")
_INPUT = re.compile(r"\$\[\[ inputs\.(\w+) \]\]")


@dataclass
class Outcome:
    """``codes``: the exit code of each attempt of the job."""

    codes: list[int]
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> int:
        return self.codes[-1]


class GitHubJob:
    """A job with one step, which uses the composite action."""

    def __init__(
        self, inputs: Mapping[str, str], environment: Mapping[str, str], folder: Path, event: Mapping[str, Any]
    ) -> None:
        self._action = yaml.safe_load((INTEGRATIONS / "github" / "action.yml").read_text())
        self._folder = folder
        self._environment = dict(environment)
        self._context: dict[str, Any] = {"github": {"token": "token-of-the-job", **event}, "steps": {}}
        defaults = {name: self._text(one.get("default", "")) for name, one in self._action["inputs"].items()}
        required = {name for name, one in self._action["inputs"].items() if one.get("required")}
        assert required <= set(inputs) <= set(defaults)
        self._context["inputs"] = defaults | dict(inputs)

    def run(self, seconds: float = DEADLINE_S) -> Outcome:
        output, summary, path = (self._folder / name for name in ("output", "summary", "path"))
        given = self._environment | {
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_PATH": str(path),
            "GITHUB_ACTION_PATH": str(INTEGRATIONS / "github"),
            "RUNNER_TEMP": str(self._folder),
        }
        summary.touch()
        path.touch()
        code, log = 0, ""
        for step in self._action["runs"]["steps"]:
            condition = step.get("if", "")
            runs = condition == "" or self._is_true(_EXPRESSION.fullmatch(condition)[1])  # type: ignore[index]
            # Without a status function in its condition, a step runs only if the previous ones succeeded.
            if not runs or (code != 0 and "always()" not in condition):
                continue
            output.write_text("")
            environment = given | {name: self._text(value) for name, value in step.get("env", {}).items()}
            environment["PATH"] = ":".join([*path.read_text().splitlines()[::-1], environment["PATH"]])
            # The command that the runner uses for `shell: bash`.
            done = subprocess.run(
                ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                env=environment,
                cwd=self._folder,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
            log += done.stdout + done.stderr
            code = code or done.returncode
            outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
            self._context["steps"][step.get("id", step["name"])] = {"outputs": outputs}
        outputs = {name: self._text(one["value"]) for name, one in self._action["outputs"].items()}
        return Outcome([code], log, outputs | {"summary": summary.read_text()})

    def _text(self, text: str) -> str:
        return _EXPRESSION.sub(lambda found: str(self._term(found[1])), text)

    def _is_true(self, expression: str) -> bool:
        terms = _TERM.findall(expression)
        assert "".join(terms) == expression.replace(" ", ""), f"not supported here: {expression}"
        for part in " ".join(terms).split(" && "):
            left, _, right = part.partition(" == ")
            if not (self._term(left) == self._term(right) if right else self._term(left)):
                return False
        return True

    def _term(self, term: str) -> Any:
        if term == "always()":
            return True
        if term.startswith("'"):
            return term.strip("'")
        value: Any = self._context
        for name in term.split("."):
            value = value.get(name, "") if isinstance(value, dict) else ""
        return value


def gitlab_job(
    name: str, inputs: Mapping[str, str], environment: Mapping[str, str], folder: Path, seconds: float = DEADLINE_S
) -> Outcome:
    """Run the job ``name`` of the component, as often as its ``retry`` says."""
    text = (INTEGRATIONS / "gitlab" / "templates" / "pgdbm.yml").read_text()
    declared = next(yaml.safe_load_all(text))["spec"]["inputs"]
    values = {key: one.get("default") for key, one in declared.items()} | dict(inputs)
    assert None not in values.values()
    assert set(values) == set(declared)
    for key, one in declared.items():
        assert re.search(one.get("regex", ""), str(values[key])), f"GitLab refuses the input {key}"
        assert isinstance(values[key], {"number": int, "string": str}[one.get("type", "string")])
    jobs = list(yaml.safe_load_all(_INPUT.sub(lambda found: str(values[found[1]]), text)))[1]
    job = jobs[f"pgdbm-{name}-{values['module']}"]
    outcome = Outcome([])
    for _ in range(1 + job.get("retry", {}).get("max", 0)):
        # The runner writes the lines into one script, which stops at the first that fails.
        done = subprocess.run(
            ["/bin/bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],
            env=dict(environment) | {key: str(value) for key, value in job.get("variables", {}).items()},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        outcome.codes.append(done.returncode)
        outcome.log += done.stdout + done.stderr
        if done.returncode not in job.get("retry", {}).get("exit_codes", []):
            break
    assert all((folder / path).exists() for path in job.get("artifacts", {}).get("paths", []))
    return outcome


class CodeHost:
    """Comments on a GitHub pull request and notes on a GitLab merge request, over HTTP."""

    def __init__(self) -> None:
        self.comments: dict[int, str] = {}
        self.tokens: set[str] = set()
        self.refuses = False
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                first = self.path.endswith("&page=1")
                self._answer([{"id": number, "body": text} for number, text in host.comments.items()] if first else [])

            def do_POST(self) -> None:
                number = len(host.comments) + 1
                host.comments[number] = self._body()
                self._answer({"id": number})

            def do_PATCH(self) -> None:
                number = int(self.path.rpartition("/")[2])
                assert number in host.comments
                host.comments[number] = self._body()
                self._answer({"id": number})

            do_PUT = do_PATCH

            def _body(self) -> str:
                text: str = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
                return text

            def _answer(self, body: object) -> None:
                host.tokens.add(self.headers.get("Authorization") or self.headers["PRIVATE-TOKEN"])
                content = json.dumps(body).encode()
                self.send_response(403 if host.refuses else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._handler = Handler
        self._serving = contextlib.ExitStack()
        self.url = ""

    def __enter__(self) -> Self:
        self.url = f"http://127.0.0.1:{self._serving.enter_context(served(self._handler))}"
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.close()
