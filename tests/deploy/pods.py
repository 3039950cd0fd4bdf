"""Manifests of pods and jobs, run as processes of this machine.

A container's command is executed as it is written, with its environment and files. Paths of its mounts are replaced
with folders that have the same content, and addresses of the cluster with those of the test.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60


def command_path(folder: Path) -> str:
    """A PATH with the command pgdbm, as it is in the image, and the programs of the system."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "pgdbm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pgdbm_service "$@"\n')
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def environment_of_commands(folder: Path) -> dict[str, str]:
    return {"PATH": command_path(folder), "PYTHONPATH": str(ROOT / "app"), "HOME": str(folder)}


@dataclass
class Cluster:
    """What the pods find: ConfigMaps and Secrets by name, images by reference, and addresses."""

    folder: Path
    config_maps: dict[str, Mapping[str, str]] = field(default_factory=dict)
    secrets: dict[str, Mapping[str, str]] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    service_account_token: str = ""
    seconds: float = DEADLINE_S

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Create a ConfigMap."""
        assert manifest["kind"] == "ConfigMap"
        self.config_maps[manifest["metadata"]["name"]] = manifest["data"]

    def run_container(self, pod: Mapping[str, Any], container: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        volumes = {volume["name"]: self._volume(volume) for volume in pod.get("volumes", [])}
        mounts = {
            mount["mountPath"]: volumes[mount["name"]] / mount.get("subPath", "")
            for mount in container.get("volumeMounts", [])
        }
        command = [self._local(word, mounts) for word in (*container["command"], *container.get("args", []))]
        given = {entry["name"]: self._local(self._value(entry), mounts) for entry in container.get("env", [])}
        return subprocess.run(
            command,
            env=environment_of_commands(self.folder / "bin") | given,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.seconds,
        )

    def run_job(self, manifest: Mapping[str, Any]) -> JobResult:
        """Run a Job until it is complete or failed, with the rules of backoffLimit and podFailurePolicy."""
        spec = manifest["spec"]
        pod = spec["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        (container,) = pod["containers"]
        final = {
            code
            for rule in spec["podFailurePolicy"]["rules"]
            if rule["action"] == "FailJob" and rule["onExitCodes"]["containerName"] == container["name"]
            for code in rule["onExitCodes"]["values"]
        }
        result = JobResult()
        for _ in range(1 + spec["backoffLimit"]):
            ended = self.run_container(pod, container)
            result.codes.append(ended.returncode)
            result.log += ended.stdout + ended.stderr
            if ended.returncode == 0 or ended.returncode in final:
                break
        return result

    def _volume(self, volume: Mapping[str, Any]) -> Path:
        folder = self.folder / "volumes" / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        if "image" in volume:
            return self.images[volume["image"]["reference"]]
        files: dict[str, str] = {}
        if "configMap" in volume:
            files |= self.config_maps[volume["configMap"]["name"]]
        elif "secret" in volume:
            files |= self.secrets[volume["secret"]["secretName"]]
        elif "projected" in volume:
            (source,) = volume["projected"]["sources"]
            files[source["serviceAccountToken"]["path"]] = self.service_account_token
        else:
            assert "emptyDir" in volume
        for name, content in files.items():
            (folder / name).write_text(content)
        return folder

    def _value(self, entry: Mapping[str, Any]) -> str:
        if "value" in entry:
            return str(entry["value"])
        key = entry["valueFrom"]["secretKeyRef"]
        return self.secrets[key["name"]][key["key"]]

    def _local(self, text: str, mounts: Mapping[str, Path]) -> str:
        text = self.addresses.get(text, text)
        for path in sorted(mounts, key=len, reverse=True):
            if text == path or text.startswith(f"{path}/"):
                return str(mounts[path]) + text.removeprefix(path)
        return text


@dataclass
class JobResult:
    """``codes``: the exit code of each attempt."""

    codes: list[int] = field(default_factory=list)
    log: str = ""

    @property
    def code(self) -> int:
        return self.codes[-1]
