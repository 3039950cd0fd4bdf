"""The other pieces in integrations/: plans as comments, waiting for a version, and what Kubernetes accepts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from pgdbm.version import __version__
from tests.support.waiting import eventually

from .pipelines import INTEGRATIONS, CodeHost, GitHubJob, Outcome, gitlab_job
from .pods import ROOT, environment_of_commands
from .test_integrations import (
    ADDRESS,
    TABLE,
    Fleet,
    checkout,
    example,
    fleet,
    fleet_of_two,
    hooks_of,
    of_fleet,
    replicas,
    shell,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.service.conftest import Process

__all__ = ["fleet", "fleet_of_two", "replicas"]

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
def test_an_init_container_waits_for_the_version(
    kind: str, fleet_of_two: Fleet, replicas: list[Process], tmp_path: Path
) -> None:
    files = {"001_orders.sql": TABLE}
    if kind == "manifest":
        deployment = yaml.safe_load((INTEGRATIONS / "kubernetes" / "wait.yaml").read_text())
    else:
        (deployment,) = [one for one in example(fleet_of_two.helm, files, tmp_path) if one["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    cluster = of_fleet(fleet_of_two, tmp_path)
    results = []
    call = threading.Thread(target=lambda: results.append(cluster.run_container(pod, container)))
    call.start()
    # It polls although the module is not known yet.
    eventually(lambda: "module_unknown" in "".join(one.err for one in replicas))
    assert call.is_alive()
    (tmp_path / "deploy").mkdir()
    assert shell(fleet_of_two, files, tmp_path / "deploy").codes == [0]
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


def chart_with(helm: str, folder: Path, name: str, module: str, *options: str) -> list[dict[str, Any]]:
    """The hooks of a chart called ``name`` with a file per module, in the release shop."""
    files = {"001_orders.sql": f"SELECT '{module}';\n"}
    return hooks_of(example(helm, files, folder / name, "--set-string", f"pgdbm-hook.module={module}", *options))


def test_two_charts_of_a_release_have_a_job_each(helm: str, tmp_path: Path) -> None:
    """A hook deletes what has its name: with one name for both, each would migrate the files of the last."""
    modules = ["orders", "identity", "shop_a", "shop-a", "Shop.a", "o" * 100, "o" * 99]
    found = {module: chart_with(helm, tmp_path, str(place), module) for place, module in enumerate(modules)}
    names = {module: {one["metadata"]["name"] for one in hooks} for module, hooks in found.items()}
    assert names["orders"] == {"orders-migrate-1"}
    assert names["identity"] == {"orders-identity-migrate-1"}
    assert len(set.union(*names.values())) == len(modules)
    for module, hooks in found.items():
        config, job = hooks
        (volume,) = [one for one in job["spec"]["template"]["spec"]["volumes"] if one["name"] == "migrations"]
        assert volume["configMap"]["name"] == config["metadata"]["name"]
        assert module in job["spec"]["template"]["spec"]["containers"][0]["command"]
        labels = [*job["metadata"]["labels"].values(), *job["spec"]["template"]["metadata"]["labels"].values()]
        assert all(len(label) <= 63 and label[-1].isalnum() for label in (*labels, job["metadata"]["name"]))


def test_text_that_looks_like_a_number_stays_text(helm: str, tmp_path: Path) -> None:
    options = ["schema=123", "token.secret=456", "token.key=7", "serviceAccountName=89", "dependsOn[0]=10"]
    sets = [argument for option in options for argument in ("--set-string", f"pgdbm-hook.{option}")]
    for one in chart_with(helm, tmp_path, "numbers", "007", *sets):
        accepted(one, "1.37")


@pytest.mark.parametrize(
    ("files", "glob", "said"),
    [
        ({"001_a.sql": "SELECT 1;", "old/001_a.sql": "SELECT 2;"}, "migrations/**.sql", "has no folders"),
        ({"001 a.sql": "SELECT 1;"}, "migrations/*", "rename"),
        ({"001_a.sql": "SELECT 1;", "002_b.sql": "-- " + "x" * 1_048_576}, "migrations/*", "may have 1048576"),
    ],
    ids=["folders", "a space", "a megabyte"],
)
def test_files_that_no_config_map_holds_are_refused(
    helm: str, tmp_path: Path, files: dict[str, str], glob: str, said: str
) -> None:
    (tmp_path / "helm" / "example" / "migrations" / "old").mkdir(parents=True)
    shutil.copytree(INTEGRATIONS / "helm", tmp_path / "helm", dirs_exist_ok=True)
    (tmp_path / "helm" / "example" / "migrations" / "001_orders.sql").unlink()
    build = [helm, "dependency", "build", tmp_path / "helm" / "example"]
    subprocess.run(build, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    with pytest.raises(AssertionError) as caught:
        example(helm, files, tmp_path, "--set", f"pgdbm-hook.files.glob={glob}")
    assert said in str(caught.value)


def test_inputs_are_not_executed(fleet: Fleet, tmp_path: Path) -> None:
    """The folder's name is data: quotes, semicolons and substitutions in it start nothing."""
    folder = 'a";touch pwned;$(touch pwned)`touch pwned`'
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "001_orders.sql").write_text(TABLE)
    environment = environment_of_commands(tmp_path / "bin")
    inputs = {"module": "orders", "server": fleet.url, "folder": folder}
    for job in ("plan", "migrate"):
        done = gitlab_job(job, inputs, environment | {"PGDBM_TOKEN": fleet.token}, tmp_path)
        assert done.code == 0, done.log
    for mode in ("plan", "migrate"):
        action = GitHubJob(
            {**inputs, "mode": mode, "token": fleet.token}, environment, tmp_path, {"event_name": "push"}
        )
        assert action.run().code == 0
    assert not (tmp_path / "pwned").exists()
    with pytest.raises(AssertionError, match="GitLab refuses the input module"):
        gitlab_job("plan", {**inputs, "module": 'x";touch pwned;"'}, environment, tmp_path)


def test_no_input_is_part_of_a_script() -> None:
    action = yaml.safe_load((INTEGRATIONS / "github" / "action.yml").read_text())
    scripts = [step["run"] for step in action["runs"]["steps"]]
    component = list(yaml.safe_load_all((INTEGRATIONS / "gitlab" / "templates" / "pgdbm.yml").read_text()))[1]
    scripts += [line for job in component.values() for line in job["script"]]
    workflows = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    scripts += [
        step["run"] for one in workflows for job in one["jobs"].values() for step in job["steps"] if "run" in step
    ]
    assert len(scripts) > 15
    assert [script for script in scripts if "${{" in script or "$[[" in script] == []


def test_the_action_installs_its_own_version(tmp_path: Path) -> None:
    """In an environment of its own, from what the index has: here a wheel with a command that prints its arguments."""
    index = tmp_path / "index"
    index.mkdir()
    info = f"pgdbm-{__version__}.dist-info"
    with zipfile.ZipFile(index / f"pgdbm-{__version__}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pgdbm_stand_in.py", "import sys\ndef main() -> None: print(sys.argv[1:])\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: pgdbm\nVersion: {__version__}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\npgdbm = pgdbm_stand_in:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    python = Path(sys.base_prefix) / "bin"
    environment = {"PATH": f"{python}:/usr/bin:/bin", "HOME": str(tmp_path)}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    inputs = {"mode": "migrate", "module": "orders", "server": "https://x", "token": "t"}
    done = GitHubJob(inputs, environment, tmp_path, {"event_name": "push"}).run()
    assert done.code == 0, done.log
    assert "['deploy', 'orders', '--dir', 'migrations', '--timeout', '1800']" in done.log
    (tmp_path / "other").mkdir()
    other = GitHubJob({**inputs, "version": "9.9.9"}, environment, tmp_path / "other", {"event_name": "push"}).run()
    assert other.code != 0
    assert "pgdbm" in other.log
    assert "9.9.9" in other.log


def test_a_comment_that_is_refused_names_the_permission(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text(f"{MARKER}\n")
    with CodeHost() as host:
        host.refuses = True
        environment = {"GITHUB_API_URL": host.url, "GITHUB_REPOSITORY": "a/b", "GITHUB_TOKEN": "t"}
        command = [sys.executable, INTEGRATIONS / "github" / "comment.py", "7", tmp_path / "plan.md"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("The token needs the permission pull-requests: write.")


@pytest.mark.parametrize("ends", ["complete", "failed", "deleted"])
def test_waiting_for_the_job_ends_with_it(tmp_path: Path, ends: str) -> None:
    """The loop in the manifest's comment, with a kubectl that knows how the Job ends after the third question."""
    comment = (INTEGRATIONS / "kubernetes" / "migrate.yaml").read_text()
    lines = [line.removeprefix("#") for line in comment.partition("apiVersion")[0].splitlines()]
    start = next(place for place, line in enumerate(lines) if "until kubectl wait" in line)
    kubectl = tmp_path / "kubectl"
    asked = tmp_path / "asked"
    kubectl.write_text(
        f"#!/bin/sh\necho >> {asked}\n[ $(wc -l < {asked}) -gt 3 ] || {{ [ $1 = get ]; exit; }}\n"
        f'case "$*" in *condition={ends}*) exit 0;; get*) [ {ends} != deleted ]; exit;; *) exit 1;; esac\n'
    )
    kubectl.chmod(0o755)
    script = "\n".join(lines[start : start + 3])
    done = subprocess.run(["sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=60)
    assert done.returncode == (0 if ends == "complete" else 1)
    assert len(asked.read_text()) > 3
