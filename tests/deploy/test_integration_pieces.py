"""The other pieces in integrations/: plans as comments, waiting for a version, and what Kubernetes accepts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from tests.support.waiting import eventually

from .pipelines import INTEGRATIONS, CodeHost, GitHubJob, Outcome, gitlab_job
from .pods import ROOT, environment_of_commands
from .test_integrations import ADDRESS, TABLE, Fleet, checkout, example, fleet, hooks_of, of_fleet, replicas, shell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["fleet", "replicas"]

WRONG = "SELECT 1;\nCREATE TABEL x;\n"
MARKER = "<!-- pgdbm plan orders -->"


def planned_on_github(fleet: Fleet, host: CodeHost, folder: Path) -> Outcome:
    inputs = {"mode": "plan", "module": "orders", "server": fleet.url, "token": fleet.token}
    environment = environment_of_commands(folder / "bin") | {
        "GITHUB_API_URL": host.url,
        "GITHUB_REPOSITORY": "shop/orders",
    }
    event = {"event_name": "pull_request", "event": {"pull_request": {"number": 7}}}
    return GitHubJob(inputs, environment, folder, event).run()


def planned_on_gitlab(fleet: Fleet, host: CodeHost, folder: Path) -> Outcome:
    environment = environment_of_commands(folder / "bin") | {
        "PGDBM_TOKEN": fleet.token,
        "PGDBM_GITLAB_TOKEN": "token-of-the-project",
        "CI_API_V4_URL": host.url,
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "7",
    }
    return gitlab_job("plan", {"module": "orders", "server": fleet.url}, environment, folder)


@pytest.mark.parametrize("plan", [planned_on_github, planned_on_gitlab], ids=["github", "gitlab"])
def test_the_plan_is_one_comment_that_is_replaced(
    plan: Callable[[Fleet, CodeHost, Path], Outcome], fleet: Fleet, tmp_path: Path, sql: Callable[..., Any]
) -> None:
    with CodeHost() as host:
        host.comments[1] = "A comment of a reviewer."
        checkout(tmp_path, {"001_orders.sql": TABLE})
        first = plan(fleet, host, tmp_path)
        assert first.code == 0, first.log
        assert set(host.comments) == {1, 2}
        assert host.comments[2].startswith(f"{MARKER}\n\n### pgdbm: orders, 1 pending migration\n")
        checkout(tmp_path, {"002_wrong.sql": WRONG})
        second = plan(fleet, host, tmp_path)
        assert second.code == 1
        assert set(host.comments) == {1, 2}
        assert host.comments[2].startswith(f"{MARKER}\n\n### pgdbm: orders, refused\n")
        assert "migrations/002_wrong.sql:2" in host.comments[2]
        assert host.comments[1] == "A comment of a reviewer."
        assert len(host.tokens) == 1
    assert sql("SELECT to_regnamespace('orders') IS NULL AS untouched")[0]["untouched"]


def test_the_action_shows_the_plan_in_the_summary(fleet: Fleet, tmp_path: Path) -> None:
    with CodeHost() as host:
        checkout(tmp_path, {"001_orders.sql": TABLE})
        done = planned_on_github(fleet, host, tmp_path)
        assert done.outputs["summary"] == host.comments[1]
        assert (tmp_path / done.outputs["plan"]).read_text() == host.comments[1]


def test_the_shell_script_explains_itself_and_tries_again(fleet: Fleet, tmp_path: Path) -> None:
    script = INTEGRATIONS / "shell" / "pgdbm-deploy.sh"
    used = subprocess.run(["/bin/sh", script, "plan"], capture_output=True, text=True)
    assert used.returncode == 2
    assert used.stderr.startswith("pgdbm-deploy.sh plan MODULE FOLDER")
    # A command that is unavailable the first two times.
    count = tmp_path / "count"
    count.write_text("0")
    attempts = f"read n < {count}; echo $((n + 1)) > {count}; [ $n -ge 2 ] || exit 6; echo planned"
    (tmp_path / "command").write_text(attempts)
    environment = {"PATH": "/usr/bin:/bin", "PGDBM": f"sh {tmp_path / 'command'}", "PGDBM_PAUSE_S": "0"}
    done = subprocess.run(
        ["/bin/sh", script, "plan", "orders", "migrations"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "planned\n")
    assert done.stderr.count("pgdbm is unavailable") == 2
    assert done.stderr.count("attempt 3") == 1


@pytest.mark.parametrize("kind", ["manifest", "chart"])
def test_an_init_container_waits_for_the_version(kind: str, fleet: Fleet, tmp_path: Path) -> None:
    files = {"001_orders.sql": TABLE}
    if kind == "manifest":
        deployment = yaml.safe_load((INTEGRATIONS / "kubernetes" / "wait.yaml").read_text())
    else:
        (deployment,) = [one for one in example(fleet.helm, files, tmp_path) if one["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    cluster = of_fleet(fleet, tmp_path)
    results = []
    call = threading.Thread(target=lambda: results.append(cluster.run_container(pod, container)))
    call.start()
    # It polls although the module is not known yet.
    eventually(lambda: "module_unknown" in "".join(one.err for one in fleet.replicas))
    assert call.is_alive()
    (tmp_path / "deploy").mkdir()
    assert shell(fleet, files, tmp_path / "deploy").codes == [0]
    call.join(60)
    (ended,) = results
    assert ended.returncode == 0, ended.stderr
    assert "is ready at version 001" in ended.stdout


def test_the_chart_accepts_an_image_and_the_token_of_the_service_account(fleet: Fleet, tmp_path: Path) -> None:
    """The files come from the image's folder, the token from the file that Kubernetes mounts."""
    options = ["--set", "pgdbm-hook.files.image=registry.example/orders:1", "--set", "pgdbm-hook.token.secret="]
    options += ["--set", "pgdbm-hook.token.audience=pgdbm", "--set", "pgdbm-hook.schema=shop"]
    objects = example(fleet.helm, {"001_orders.sql": TABLE}, tmp_path, *options)
    (job,) = hooks_of(objects)
    cluster = of_fleet(fleet, tmp_path)
    cluster.images["registry.example/orders:1"] = tmp_path / "helm" / "example"
    ended = cluster.run_job(job)
    assert ended.codes == [0], ended.log
    assert "shop" in ended.log
    accepted(job, "1.37")
    with pytest.raises(AssertionError, match=r"pgdbm-hook\.token\.audience, not both"):
        example(fleet.helm, {}, tmp_path, "--set", "pgdbm-hook.token.audience=pgdbm")


def test_each_release_has_a_job_of_its_own(helm: str, tmp_path: Path) -> None:
    """A Job cannot be changed: the next revision needs another name."""
    fleet = Fleet([], "", "", helm)
    first = hooks_of(example(helm, {"001_orders.sql": TABLE}, tmp_path))
    assert {one["metadata"]["name"] for one in first} == {"orders-migrate-1"}
    assert fleet.helm == helm
    template = (INTEGRATIONS / "helm" / "pgdbm-hook" / "templates" / "_hook.tpl").read_text()
    assert ".Release.Revision" in template
    for one in first:
        assert one["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


def test_a_chart_without_files_is_refused(helm: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="matches no file of the chart"):
        example(helm, {}, tmp_path)


def manifests(helm: str, folder: Path) -> list[dict[str, Any]]:
    plain = [*(INTEGRATIONS / "kubernetes").glob("*.yaml"), *(INTEGRATIONS / "argocd").glob("*.yaml")]
    found = [one for path in sorted(plain) for one in yaml.safe_load_all(path.read_text())]
    return found + example(helm, {"001_orders.sql": TABLE}, folder)


def accepted(manifest: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_kubernetes_accepts_every_manifest(helm: str, tmp_path: Path, version: str) -> None:
    found = manifests(helm, tmp_path)
    assert {"ConfigMap", "Job", "Deployment"} == {one["kind"] for one in found}
    for one in found:
        accepted(one, version)


def test_every_container_of_pgdbm_meets_the_restricted_profile(helm: str, tmp_path: Path) -> None:
    checked = 0
    for one in manifests(helm, tmp_path):
        pod = one.get("spec", {}).get("template", {}).get("spec", {"containers": []})
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            if "pgdbm" in container["image"]:
                checked += 1
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert container["resources"]["limits"]["memory"]
                assert ADDRESS in json.dumps(container["env"])
    assert checked == 5


def test_the_readme_of_the_library_chart_is_current() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / ".ci" / "chart_readme.py", "--check"], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
