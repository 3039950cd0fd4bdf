"""``pgdbm deploy --dry-run --format``: a real plan as a comment for a pull request, and its findings as SARIF."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from .test_deploy import Pipeline

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ("github", "gitlab", "markdown")
RISKY = """CREATE TABLE {{tables.carts}} (id bigint PRIMARY KEY, note text DEFAULT '```|<b>');
ALTER TABLE public.held ALTER COLUMN a SET NOT NULL;
"""


@pytest.fixture
def pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, service: Any
) -> Pipeline:
    made = Pipeline(tmp_path / "pipeline", capsys, monkeypatch)
    made.environ.setenv("PGDBM_SERVER", service.url)
    return made


def planned(pipeline: Pipeline, form: str) -> str:
    done = pipeline("deploy", "shop", "--dry-run", "--format", form)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.parametrize("form", FORMATS)
def test_the_comment_shows_what_is_pending(pipeline: Pipeline, form: str) -> None:
    pipeline.write("001_t.sql", "CREATE TABLE {{tables.t}} (id integer);\n")
    assert pipeline("deploy", "shop").code == 0
    pipeline.write("002_carts.sql", RISKY)
    pipeline.write("003_index.sql", "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY i ON public.held (a);\n")
    comment = planned(pipeline, form)
    first, _, rest = comment.partition("\n\n")
    assert first == "<!-- pgdbm plan shop -->"
    assert rest.startswith("### pgdbm: shop, 2 pending migrations\n")
    assert "Schema `shop`, 3 files" in comment
    assert "001_t.sql" not in comment
    assert "| `002_carts.sql` | 2 | one | reads and writes on `public.held` |" in comment
    assert re.search(r"\| `003_index\.sql` \| 1 \| none \| ", comment)
    # With the finding about SET NOT NULL, and where it is in the checkout.
    assert "`migrations/002_carts.sql:2:1` PGDBM" in comment
    alert = "> **Warning**" if form == "markdown" else "> [!WARNING]"
    assert alert in comment
    # The SQL as the file has it: its fence is longer than the backquotes in it.
    assert f"````sql\n{RISKY.rstrip()}\n````" in comment
    assert ("<details>" in comment) == (form != "markdown")


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_pending(pipeline: Pipeline, form: str) -> None:
    pipeline.write("001_t.sql", "CREATE TABLE {{tables.t}} (id integer);\n")
    assert pipeline("deploy", "shop").code == 0
    comment = planned(pipeline, form)
    assert "### pgdbm: shop, nothing to apply\n" in comment
    assert "```" not in comment


def test_findings_as_sarif(pipeline: Pipeline) -> None:
    pipeline.write("002_carts.sql", RISKY)
    (run,) = json.loads(planned(pipeline, "sarif"))["runs"]
    assert run["tool"]["driver"]["name"] == "pgdbm"
    (finding,) = [one for one in run["results"] if one["locations"][0]["physicalLocation"]["region"]["startLine"] == 2][
        :1
    ]
    place = finding["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "migrations/002_carts.sql"}
    assert finding["level"] in ("warning", "error")
    assert {one["ruleId"] for one in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}


@pytest.mark.parametrize("form", [*FORMATS, "sarif"])
def test_a_refusal_is_in_the_report_and_in_the_exit_code(pipeline: Pipeline, form: str) -> None:
    pipeline.write("001_t.sql", "CREATE TABLE {{tables.t}} (id integer);\n")
    assert pipeline("deploy", "shop").code == 0
    pipeline.write("002_wrong.sql", "SELECT 1;\nCREATE TABEL x;\n")
    done = pipeline("deploy", "shop", "--dry-run", "--format", form)
    assert (done.code, "migrations/002_wrong.sql:2" in done.err) == (1, True)
    if form == "sarif":
        (result,) = json.loads(done.out)["runs"][0]["results"]
        region = result["locations"][0]["physicalLocation"]["region"]
        assert (result["level"], region["startLine"]) == ("error", 2)
        return
    assert "### pgdbm: shop, refused\n" in done.out
    assert "migrations/002_wrong.sql:2:" in done.out


def test_a_changed_file_is_a_conflict(pipeline: Pipeline) -> None:
    pipeline.write("001_t.sql", "CREATE TABLE {{tables.t}} (id integer);\n")
    assert pipeline("deploy", "shop").code == 0
    pipeline.write("001_t.sql", "CREATE TABLE {{tables.t}} (id bigint);\n")
    done = pipeline("deploy", "shop", "--dry-run", "--format", "github")
    assert done.code == 4
    assert "refused" in done.out
    assert "001\\_t.sql" in done.out


def test_a_comment_fits_into_what_the_host_accepts(pipeline: Pipeline) -> None:
    for number in range(1, 6):
        pipeline.write(f"00{number}_big.sql", f"SELECT '{'x' * 30_000}';\n")
    comment = planned(pipeline, "github")
    assert len(comment) <= 65_536
    assert "### pgdbm: shop, 5 pending migrations" in comment
    assert "The SQL of 3 more files does not fit into the comment." in comment
    assert comment.count("<details>") == comment.count("</details>") == 2
    assert planned(pipeline, "gitlab").count("<details>") == 5


@pytest.mark.parametrize("arguments", [("--format", "github"), ("--dry-run", "--json", "--format", "github")])
def test_the_format_is_that_of_a_dry_run(pipeline: Pipeline, arguments: tuple[str, ...]) -> None:
    done = pipeline("deploy", "shop", *arguments)
    assert done.code == 2
