"""What must be true before a release: one version, a changelog, a complete wheel, metadata, free licences.

``python .ci/release_check.py [--release]``: with ``--release`` the changelog needs a date and the metadata the
project's URLs. The wheel, the sdist and the bill of materials (CycloneDX) are written to ``dist/``.
"""

from __future__ import annotations

import email
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
LOCK = "requirements.service.lock"

# The wheel does not work without these; the tests that run against the wheel find any others.
CONTENT = (
    "pgdbm/py.typed",
    "pgdbm/sql/importers.sql",
    "pgdbm/embedded/launch.py",
    "pgdbm/cli/template.toml",
    "pgdbm_service/py.typed",
    "pgdbm_service/migrations/001_replicas.sql",
    "pgdbm_service/static/swagger-ui/swagger-ui-bundle.js",
)
# The files that repeat the version, because other tools read it there.
REPEATED = {
    "helm/pgdbm/Chart.yaml": r'^appVersion: "(.+)"$',
    "integrations/helm/pgdbm-hook/Chart.yaml": r'^appVersion: "(.+)"$',
    "integrations/helm/pgdbm-hook/values.yaml": r"^image: pgdbm:(.+)$",
    "integrations/argocd/presync.yaml": r"image: .*/pgdbm:(.+)$",
    "integrations/kubernetes/wait.yaml": r"image: .*/pgdbm:(.+)$",
    "integrations/kubernetes/migrate.yaml": r"image: .*/pgdbm:(.+)$",
    "integrations/gitlab/templates/pgdbm.yml": r"default: .*/pgdbm:(.+)$",
    "integrations/github/action.yml": r'^    default: "(\d+\.\d+\.\d+)"$',
    "integrations/README.md": r"(?:pgdbm:|@v?)(\d+\.\d+\.\d+)",
    "docs/howto/deploy.md": r'^  tag: "(.+)"$',
    "README.md": r"pgdbm-(\d+\.\d+\.\d+)-py3",
}
# Licences under which a dependency may be shipped in the image.
FREE = re.compile(r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|Zlib|0BSD|Unlicense)\b")
COPYLEFT = re.compile(r"\b(A?GPL|GNU Affero|GNU General)\b")


def main(is_release: bool) -> int:
    version = project_version()
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--directory", str(DIST)], cwd=ROOT, check=True)
    (wheel,) = DIST.glob("*.whl")
    problems = [
        *version_problems(version),
        *changelog_problems((ROOT / "CHANGELOG.md").read_text(), version, is_release=is_release),
        *wheel_problems(wheel, version, is_release=is_release),
        *licence_problems(),
    ]
    sbom = DIST / f"pgdbm-{version}.cdx.json"
    sbom.write_text(json.dumps(bill_of_materials(version), indent=2) + "\n")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{wheel.name}, {sbom.name}: {len(problems)} problems")
    return 1 if problems else 0


def project_version() -> str:
    """The version, from its only source."""
    spec = importlib.util.spec_from_file_location("version", ROOT / "app/pgdbm/version.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.__version__)


def version_problems(version: str) -> Iterator[str]:
    for path, pattern in REPEATED.items():
        found = re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)
        if set(found) != {version}:
            yield f"{path}: has the version {', '.join(found) or 'nowhere'}, and app/pgdbm/version.py {version}"


def changelog_problems(text: str, version: str, *, is_release: bool) -> Iterator[str]:
    heading = re.search(r"^## (\S+) \((.+)\)$", text, re.MULTILINE)
    if heading is None or heading[1] != version:
        yield f"CHANGELOG.md: the first heading is not `## {version} (…)`"
    elif is_release and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", heading[2]):
        yield f"CHANGELOG.md: {version} is {heading[2]}; write the date of the release"


def wheel_problems(wheel: Path, version: str, *, is_release: bool) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        folder = f"pgdbm-{version}.dist-info"
        described = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        commands = archive.read(f"{folder}/entry_points.txt").decode()
    yield from (f"the wheel has no {name}" for name in (*CONTENT, f"{folder}/licenses/LICENSE") if name not in names)
    foreign = [name for name in names if not name.startswith(("pgdbm/", "pgdbm_service/", f"{folder}/"))]
    compiled = [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    if foreign or compiled:
        yield f"the wheel has {', '.join(sorted(foreign + compiled)[:5])}"
    if "pgdbm = pgdbm.cli:main" not in commands:
        yield "the wheel has no command pgdbm"
    yield from metadata_problems(described, version, is_release=is_release)


def metadata_problems(described: Message, version: str, *, is_release: bool) -> Iterator[str]:
    wanted = {
        "Name": "pgdbm",
        "Version": version,
        "License-Expression": "MIT",
        "Requires-Python": ">=3.11",
        "Description-Content-Type": "text/markdown",
    }
    for key, value in wanted.items():
        if described[key] != value:
            yield f"the metadata has {key} {described[key]}, not {value}"
    if is_release and not described.get_all("Project-URL"):
        yield "the metadata has no project URLs: write [project.urls] with the address of the repository"


def licence_problems() -> Iterator[str]:
    for name, _ in pins():
        licence = licence_of(name)
        if licence is None:
            yield f"{name}: its licence is unknown because it is not installed: install {LOCK}"
        elif COPYLEFT.search(licence) or not FREE.search(licence):
            yield f"{name}: {licence}"


def pins() -> list[tuple[str, str]]:
    """The packages of the image, with their versions."""
    return re.findall(r"^([\w.-]+)==([^ ;\\]+)", (ROOT / LOCK).read_text(), re.MULTILINE)


def licence_of(name: str) -> str | None:
    """The licence that a package declares; None if it is not installed."""
    try:
        described = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    classifiers = [one.rpartition(" :: ")[2] for one in described.get_all("Classifier") or [] if "License ::" in one]
    first_line = (described["License"] or "").strip().partition("\n")[0]
    return described["License-Expression"] or "; ".join([*classifiers, first_line]).strip("; ") or "none"


def bill_of_materials(version: str) -> dict[str, Any]:
    """What the image contains on top of its base, as CycloneDX 1.6."""
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"pkg:pypi/pgdbm@{version}#{(ROOT / LOCK).read_text()}")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": component("pgdbm", version, "application", "MIT")},
        "components": [component(name, pin, "library", licence_of(name)) for name, pin in pins()],
        "dependencies": [
            {"ref": purl("pgdbm", version), "dependsOn": [purl(name, pin) for name, pin in pins()]},
        ],
    }


def component(name: str, version: str, kind: str, licence: str | None) -> dict[str, Any]:
    described = {"type": kind, "bom-ref": purl(name, version), "name": name, "version": version}
    licences = {"licenses": [{"license": {"name": licence}}]} if licence else {}
    return {**described, "purl": purl(name, version), **licences}


def purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


if __name__ == "__main__":
    sys.exit(main("--release" in sys.argv[1:]))
