"""Build the image and run it: ``make image-test``. With ``--compose``, start docker-compose.yml: ``make compose-test``.

Exits with 3, and says why, if no container engine is available.

It uses the engine at DOCKER_HOST, or Docker's default one. If there is none and it runs as root, it installs Debian's
docker.io and starts its own daemon, which keeps its data in .cache/image and stops when the test ends. If the base
image cannot be pulled, a substitute with the same Python is built with debootstrap; the same goes for the other images.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from debian_program import UNAVAILABLE, UnavailableError, found, installed

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
# Resolved: runc refuses a root below a symbolic link.
CACHE = (ROOT / ".cache").resolve() / "image"
BASE = "python:3.13-slim"
STAND_IN = "pgdbm-test/python:3.13"
# The release of Debian with this Python.
SUITE = "trixie"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
STAND_INS = ROOT / "tests" / "deploy" / "stand_ins"
IMAGE = "pgdbm-test/pgdbm:test"
DAEMON_WAIT_S = 60
PULL_TIMEOUT_S = 60
FETCH_TIMEOUT_S = 120


def main(arguments: list[str]) -> int:
    try:
        with engine() as docker:
            os.environ.update(docker)
            try:
                image = base()
                check_network(image)
            except subprocess.SubprocessError as failure:
                raise UnavailableError(f"the engine does not work: {failure}") from failure
            build(image)
            if "--compose" in arguments:
                return run_tests("tests/deploy/test_compose_up.py", **compose(image))
            return run_tests("tests/deploy/test_image.py", PGDBM_TEST_IMAGE=IMAGE)
    except UnavailableError as reason:
        print(f"no container engine: {reason}. Skipped: building the image, and the tests in it", file=sys.stderr)
        return UNAVAILABLE


@contextlib.contextmanager
def engine() -> Iterator[dict[str, str]]:
    """The environment for the command docker."""
    if found("docker") and works({}):
        yield {}
        return
    if os.geteuid() != 0:
        raise UnavailableError("docker does not answer, and starting a daemon requires root")
    if found("docker") is None or found("dockerd") is None:
        installed("dockerd", "docker.io")
    with daemon() as address:
        yield {"DOCKER_HOST": address}


def works(environment: dict[str, str]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        asked = subprocess.run(["docker", "version"], env=os.environ | environment, capture_output=True, timeout=20)
        return asked.returncode == 0
    return False


@contextlib.contextmanager
def daemon() -> Iterator[str]:
    """A daemon that adds no firewall rules: containers use the host's network, or one between themselves."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pgdbm-docker-") as folder, (CACHE / "dockerd.log").open("w") as log:
        address = f"unix://{folder}/docker.sock"
        command = [found("dockerd") or "dockerd", "-H", address, "--data-root", str(CACHE / "docker")]
        command += ["--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + DAEMON_WAIT_S
            while not works({"DOCKER_HOST": address}):
                if process.poll() is not None or time.monotonic() > deadline:
                    last = (CACHE / "dockerd.log").read_text().strip().splitlines()[-1:]
                    raise UnavailableError(f"the daemon does not start: {''.join(last)}")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(DAEMON_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            unmount(Path(folder), CACHE / "docker")


def unmount(*folders: Path) -> None:
    """The daemon leaves a network namespace behind, and its data mounted."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in reversed(mounted):
        if any(Path(path).is_relative_to(folder) for folder in folders):
            subprocess.run(["umount", path], check=False)


def base() -> str:
    """The base image: the published one if it is available, else a substitute."""
    if exists(BASE):
        return BASE
    if pulled(BASE):
        return BASE
    if exists(STAND_IN):
        return STAND_IN
    if os.geteuid() != 0:
        raise UnavailableError(f"{BASE} cannot be pulled, and building a substitute requires root")
    print(f"{BASE} cannot be pulled; a substitute is built from Debian {SUITE}", flush=True)
    stand_in()
    return STAND_IN


def pulled(image: str) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, timeout=PULL_TIMEOUT_S)
        return done.returncode == 0
    return False


def exists(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0


def stand_in() -> None:
    debootstrap = installed("debootstrap", "debootstrap") if found("debootstrap") is None else found("debootstrap")
    with tempfile.TemporaryDirectory(prefix="pgdbm-debian-") as folder:
        root = Path(folder) / "root"
        made = subprocess.run(
            [str(debootstrap), "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise UnavailableError(f"debootstrap failed: {(made.stdout.strip().splitlines() or [''])[-1]}")
        for name, program in (("python", "python3"), ("pip", "pip3")):
            (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{program}")
        # Behind a proxy, a registry presents certificates that this machine trusts.
        authorities = Path("/etc/ssl/certs/ca-certificates.crt")
        if authorities.exists():
            shutil.copy(authorities, root / "etc/ssl/certs/ca-certificates.crt")
        (root / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(["docker", "import", "-", STAND_IN], stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)
        if tar.wait() != 0:
            raise UnavailableError("tar failed")


def check_network(image: str) -> None:
    """Raises UnavailableError if a container cannot fetch what a build needs: a failed build is a failed test."""
    fetch = "apt-get update -qq && pip download --quiet --no-deps --dest /tmp hatchling"
    command = ["docker", "run", "--rm", "--network", "host", image, "sh", "-ec", fetch]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
        if done.returncode == 0:
            return
        raise UnavailableError(f"containers cannot fetch packages: {' '.join(done.stderr.split())[:300]}")
    raise UnavailableError(f"containers take more than {FETCH_TIMEOUT_S} s to fetch packages")


def compose(image: str) -> dict[str, str]:
    """The variables for the tests of docker-compose.yml, and its images, or substitutes for them."""
    variables = {"PGDBM_TEST_COMPOSE": shlex.join(compose_command(image)), "PGDBM_IMAGE": IMAGE}
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("postgres", "pgbouncer", "prometheus"):
        variable = f"{name.upper()}_IMAGE"
        published = text.partition(f"${{{variable}:-")[2].partition("}")[0]
        if not exists(published) and not pulled(published):
            published = f"pgdbm-test/{name}"
            command = ["docker", "build", "--quiet", "--network", "host", "--build-arg", f"BASE={image}"]
            command += ["--tag", published, "--file", str(STAND_INS / f"{name}.Dockerfile"), str(STAND_INS)]
            subprocess.run(command, env=os.environ | {"DOCKER_BUILDKIT": "0"}, check=True)
        variables[variable] = published
    return variables


def compose_command(image: str) -> list[str]:
    """docker compose 2; without it, Debian's, extracted from its package."""
    for command in (["docker", "compose"], ["docker-compose"]):
        asked = (
            subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
            if found(command[0])
            else None
        )
        if asked is not None and asked.returncode == 0 and asked.stdout.removeprefix("v").startswith("2"):
            return command
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "docker-compose"
    if not program.exists():
        inside = "apt-get update -qq && cd /tmp && apt-get download -qq docker-compose && dpkg-deb -x *.deb x 1>&2"
        inside += " && cat x/usr/libexec/docker/cli-plugins/docker-compose"
        with program.with_suffix(".part").open("wb") as file:
            command = ["docker", "run", "--rm", "--network", "host", image, "sh", "-c", inside]
            if subprocess.run(command, stdout=file).returncode != 0:
                raise UnavailableError("docker compose is not available")
        program.with_suffix(".part").chmod(0o755)
        program.with_suffix(".part").rename(program)
    return [str(program)]


def build(image: str) -> None:
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    arguments = {"PYTHON_IMAGE": image, "REVISION": revision or "unknown", "VERSION": "0.0.0-test"}
    options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    command = ["docker", "build", "--quiet", "--network", "host", *options, "--tag", IMAGE, "."]
    started = time.monotonic()
    # The classic builder, which needs no plugin.
    subprocess.run(command, cwd=ROOT, env=os.environ | {"DOCKER_BUILDKIT": "0"}, check=True)
    print(f"built in {time.monotonic() - started:.0f} s on {image}", flush=True)


def run_tests(path: str, **variables: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-s", path]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables).returncode


if __name__ == "__main__":
    # On a timeout the daemon is stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
