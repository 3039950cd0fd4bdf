"""What ``make release-check`` finds, and what the workflows may do."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def release() -> Any:
    spec = importlib.util.spec_from_file_location("release_check", ROOT / ".ci" / "release_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_has_one_source(release: Any) -> None:
    assert list(release.version_problems(release.project_version())) == []
    assert len(list(release.version_problems("9.9.9"))) == len(release.REPEATED)


def test_the_changelog_starts_with_the_version(release: Any) -> None:
    version = release.project_version()
    text = (ROOT / "CHANGELOG.md").read_text()
    assert list(release.changelog_problems(text, version, is_release=False)) == []
    assert list(release.changelog_problems(text, "9.9.9", is_release=False)) != []
    undated = f"## {version} (unreleased)\n"
    assert "write the date" in next(release.changelog_problems(undated, version, is_release=True))
    assert list(release.changelog_problems(f"## {version} (2026-12-01)\n", version, is_release=True)) == []


def test_dependencies_are_free(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(release.licence_problems()) == []
    monkeypatch.setattr(release, "licence_of", lambda name: "GPL-3.0-only" if name == "msgspec" else "MIT")
    assert list(release.licence_problems()) == ["msgspec: GPL-3.0-only"]


def test_the_bill_of_materials_lists_the_lock(release: Any) -> None:
    bill = release.bill_of_materials("1.2.3")
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    references = [one["bom-ref"] for one in bill["components"]]
    assert len(references) == len(set(references)) > 30
    assert bill["dependencies"][0] == {"ref": "pkg:pypi/pgdbm@1.2.3", "dependsOn": references}
    assert all(one["purl"].startswith("pkg:pypi/") and one["licenses"] for one in bill["components"])


def test_a_wheel_that_is_incomplete(release: Any, tmp_path: Path) -> None:
    import zipfile

    wheel = tmp_path / "pgdbm-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pgdbm-1.2.3.dist-info/METADATA", "Name: pgdbm\nVersion: 1.2.3\n\n")
        archive.writestr("pgdbm-1.2.3.dist-info/entry_points.txt", "")
        archive.writestr("tests/test_x.py", "")
    found = list(release.wheel_problems(wheel, "1.2.3", is_release=True))
    assert "the wheel has no pgdbm/py.typed" in found
    assert "the wheel has tests/test_x.py" in found
    assert "the wheel has no command pgdbm" in found
    assert any("License-Expression" in one for one in found)
    assert any("project URLs" in one for one in found)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_pinned_and_have_few_permissions(path: Path) -> None:
    text = path.read_text()
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    # YAML reads the key `on` as a boolean.
    assert "pull_request_target" not in workflow[True]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert set(job["permissions"].items()) <= {
            ("contents", "read"),
            ("id-token", "write"),
            ("attestations", "write"),
        }
        for step in job["steps"]:
            # An expression in a script would let a name of a branch be executed.
            assert "${{" not in step.get("run", "")
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_workflows_call_what_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    called = {name for path in WORKFLOWS for name in re.findall(r"make ([a-z-]+)", path.read_text())}
    assert {"clone-test", "release-check", "test"} <= called
    assert [name for name in called if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
