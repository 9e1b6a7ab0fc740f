"""Checks the files of deploy/ that have no validator in a package registry, and what the files say about each other.

The arguments are the root of the repository and the built app. The keys of fly.toml, railway.json and render.yaml are
those of the platforms' references: their schemas are published on the platforms' own sites only.
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml

# The program of the image.
PROGRAM = "/usr/local/bin/app"
# SHUTDOWN_GRACE, for requests and again for background work.
SHUTDOWN = 60
# The user of the image.
USER = 65532

CHECK = {"method": str, "path": str, "interval": str, "timeout": str, "grace_period": str}
FLY = {
    "app": str,
    "primary_region": str,
    "kill_signal": str,
    "kill_timeout": int,
    "build": {"dockerfile": str, "ignorefile": str},
    "deploy": {"release_command": str, "strategy": str, "max_unavailable": float},
    "processes": {"*": str},
    "env": {"*": str},
    "http_service": {
        "internal_port": int,
        "force_https": bool,
        "auto_start_machines": bool,
        "auto_stop_machines": str,
        "min_machines_running": int,
        "processes": [str],
        "concurrency": {"type": str, "soft_limit": int, "hard_limit": int},
        "checks": [CHECK],
    },
    "checks": {"*": CHECK | {"type": str, "port": int, "processes": [str]}},
    "metrics": [{"port": int, "path": str, "processes": [str]}],
    "vm": [{"size": str, "memory": str, "processes": [str]}],
}
RAILWAY = {
    "$schema": str,
    "build": {"builder": str, "dockerfilePath": str},
    "deploy": {
        "preDeployCommand": [str],
        "startCommand": str,
        "healthcheckPath": str,
        "healthcheckTimeout": int,
        "overlapSeconds": int,
        "drainingSeconds": int,
        "numReplicas": int,
        "restartPolicyType": str,
    },
}
VARIABLE = {
    "key": str,
    "value": str,
    "sync": bool,
    "generateValue": bool,
    "fromGroup": str,
    "fromDatabase": {"name": str, "property": str},
    "fromService": {"type": str, "name": str, "property": str, "envVarKey": str},
}
RENDER = {
    "services": [
        {
            "type": str,
            "name": str,
            "runtime": str,
            "region": str,
            "plan": str,
            "numInstances": int,
            "dockerfilePath": str,
            "dockerContext": str,
            "preDeployCommand": str,
            "dockerCommand": str,
            "healthCheckPath": str,
            "maxShutdownDelaySeconds": int,
            "autoDeployTrigger": str,
            "maxmemoryPolicy": str,
            "ipAllowList": [{"source": str, "description": str}],
            "envVars": [VARIABLE],
        }
    ],
    "databases": [
        {
            "name": str,
            "region": str,
            "plan": str,
            "postgresMajorVersion": str,
            "databaseName": str,
            "user": str,
            "ipAllowList": [{"source": str, "description": str}],
        }
    ],
    "envVarGroups": [{"name": str, "envVars": [VARIABLE]}],
}


def main() -> None:
    root, app = Path(sys.argv[1]), sys.argv[2]
    deploy = root / "deploy"
    settings = known_settings(app)
    used = compose(deploy) | fly(deploy) | render(deploy) | kubernetes(deploy) | systemd(deploy)
    railway(deploy)
    unknown = used - settings
    assert not unknown, f"the app has no settings {sorted(unknown)}"
    monitoring(root)
    commands = commands_of(root, deploy)
    for command in sorted(commands):
        asked = subprocess.run([app, *shlex.split(command), "--help"], capture_output=True, text=True)
        assert asked.returncode == 0, f"`{command}` is no command of the app:\n{asked.stderr}"
    print(f"{len(used)} settings and {len(commands)} commands exist")


def known_settings(app: str) -> set[str]:
    """Returns the names of the app's settings."""
    with tempfile.TemporaryDirectory() as folder:
        lines = subprocess.run(
            [app, "config"], cwd=folder, env={"APP_ENV": "test", "LOG_LEVEL": "error"}, check=True, capture_output=True, text=True
        ).stdout.splitlines()
    return {line.split()[0] for line in lines if line and not line.startswith("#")}


def conforms(value, shape, place: str) -> None:
    """Fails unless a value has the shape: a type, a list with the shape of its items, or the shapes of known keys."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), f"{place} is no table"
        for key, item in value.items():
            known = shape.get(key, shape.get("*"))
            assert known is not None, f"{place}.{key} is no key of the reference"
            conforms(item, known, f"{place}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), f"{place} is no list"
        for index, item in enumerate(value):
            conforms(item, shape[0], f"{place}[{index}]")
    else:
        assert type(value) is shape, f"{place} is {value!r}, not of type {shape.__name__}"


def compose(deploy: Path) -> set[str]:
    """Checks the compose files, and returns the names of the app's settings."""
    stack = yaml.safe_load((deploy / "compose.yaml").read_text())
    services = stack["services"]
    for name in ["migrate", "app", "worker"]:
        service = services[name]
        assert service["read_only"] and service["init"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert seconds(service["stop_grace_period"]) > SHUTDOWN, name
        if name != "migrate":
            assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully", name
            assert service["healthcheck"]["test"][:3] == ["CMD", PROGRAM, "health"], name
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if not service["image"].startswith("${"):
            assert re.search(r":v?\d", service["image"]), f"{name} has no pinned version"
    beside = yaml.safe_load((deploy / "compose.observability.yaml").read_text())
    stack = yaml.safe_load((deploy / "observability/compose.yaml").read_text())
    for section in ["services", "secrets", "volumes"]:
        assert beside[section].keys() == stack[section].keys(), f"the {section} of the observability stacks differ"
    (targets,) = yaml.safe_load((deploy / "observability/compose-targets.yml").read_text())
    assert targets["targets"] == ["app:8080", "worker:9100"], targets
    return {name for service in ["app", "worker"] for name in services[service]["environment"]}


def fly(deploy: Path) -> set[str]:
    """Checks fly.toml, and returns the names of the app's settings."""
    config = tomllib.loads((deploy / "fly.toml").read_text())
    conforms(config, FLY, "fly.toml")
    processes = set(config["processes"])
    used = [config["http_service"], *config["checks"].values(), *config["metrics"], *config["vm"]]
    assert all(set(part["processes"]) <= processes for part in used), "a process of fly.toml does not exist"
    assert config["kill_signal"] == "SIGTERM" and config["kill_timeout"] > SHUTDOWN
    assert config["http_service"]["internal_port"] == int(config["env"]["PORT"])
    assert all((deploy / config["build"][name]).is_file() for name in config["build"])
    return set(config["env"])


def railway(deploy: Path) -> None:
    """Checks railway.json and railway.worker.json."""
    for name in ["railway.json", "railway.worker.json"]:
        config = json.loads((deploy / name).read_text())
        conforms(config, RAILWAY, name)
        assert config["deploy"]["drainingSeconds"] > SHUTDOWN, name
        assert (deploy.parent / config["build"]["dockerfilePath"]).is_file(), name


def render(deploy: Path) -> set[str]:
    """Checks render.yaml, and returns the names of the app's settings."""
    blueprint = yaml.safe_load((deploy / "render.yaml").read_text())
    conforms(blueprint, RENDER, "render.yaml")
    services = {service["name"]: service for service in blueprint["services"]}
    databases = {database["name"] for database in blueprint["databases"]}
    groups = {group["name"]: group["envVars"] for group in blueprint["envVarGroups"]}
    names = set()
    for service in services.values():
        if service["type"] == "keyvalue":
            continue
        assert 60 < service["maxShutdownDelaySeconds"] <= 300, service["name"]
        assert (deploy.parent / service["dockerfilePath"]).is_file(), service["name"]
        for variable in service["envVars"]:
            if "fromGroup" in variable:
                names |= {inner["key"] for inner in groups[variable["fromGroup"]]}
                continue
            names.add(variable["key"])
            if "fromDatabase" in variable:
                assert variable["fromDatabase"]["name"] in databases, variable
            if source := variable.get("fromService"):
                assert services[source["name"]]["type"] == source["type"], variable
                if key := source.get("envVarKey"):
                    assert key in {of.get("key") for of in services[source["name"]]["envVars"]}, variable
    # Render ignores this kind in groups.
    assert not any("sync" in variable for group in groups.values() for variable in group), "`sync` in a group"
    return names


def kubernetes(deploy: Path) -> set[str]:
    """Checks what the manifests say about each other, and returns the names of the app's settings."""
    found = {}
    for path in sorted((deploy / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found[document["kind"], document["metadata"]["name"]] = document
    pods = {}
    for (kind, name), document in found.items():
        if kind not in ("Deployment", "Job"):
            continue
        template = document["spec"]["template"]
        pods[name] = template["metadata"]["labels"]
        spec = template["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == USER, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], name
        assert security["capabilities"]["drop"] == ["ALL"], name
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"], name
        for source in container["envFrom"]:
            if "configMapRef" in source:
                assert ("ConfigMap", source["configMapRef"]["name"]) in found, name
        if kind == "Deployment":
            assert "replicas" not in document["spec"], f"{name}: the autoscaler sets the number of replicas"
            assert document["spec"]["selector"]["matchLabels"].items() <= pods[name].items(), name
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert spec["terminationGracePeriodSeconds"] > SHUTDOWN + pause, name
            ports = {port["name"] for port in container["ports"]}
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
                assert container[probe]["httpGet"]["port"] in ports, f"{name}: {probe}"
            # Restarting the app does not help when the database is away.
            assert container["livenessProbe"]["httpGet"]["path"] == "/health", name
    for (kind, name), document in found.items():
        spec = document.get("spec", {})
        if kind in ("PodDisruptionBudget", "Service"):
            selector = spec["selector"].get("matchLabels", spec["selector"])
            assert any(selector.items() <= labels.items() for labels in pods.values()), f"{kind} {name} selects no pod"
        if kind == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            assert (target["kind"], target["name"]) in found, name
        if kind == "Ingress":
            for rule in spec["rules"]:
                for path in rule["http"]["paths"]:
                    assert ("Service", path["backend"]["service"]["name"]) in found, name
    return set(found["ConfigMap", "acme"]["data"])


def systemd(deploy: Path) -> set[str]:
    """Checks the units, and returns the names of the app's settings."""
    names = set()
    for path in (deploy / "systemd").glob("*.service"):
        text = path.read_text()
        assert seconds(re.search(r"^TimeoutStopSec=(\S+)", text, re.MULTILINE)[1]) > SHUTDOWN, path.name
        for line in re.findall(r"^Environment=(.*)", text, re.MULTILINE):
            names |= {pair.split("=")[0] for pair in line.split()}
    return names


def monitoring(root: Path) -> None:
    """Checks the names of metrics from the app to the autoscaler."""
    folder = root / "deploy/kubernetes"
    (rule,) = yaml.safe_load((folder / "monitoring/prometheus-adapter.yaml").read_text())["rules"]["external"]
    metric = rule["seriesQuery"].split("{")[0]
    assert f"| `{metric}` |" in (root / "docs/src/metrics.md").read_text(), f"the app has no metric {metric}"
    scalers = list(yaml.safe_load_all((folder / "autoscaling.yaml").read_text()))
    external = [entry["external"] for scaler in scalers for entry in scaler["spec"]["metrics"] if entry["type"] == "External"]
    assert [entry["metric"]["name"] for entry in external] == [rule["name"]["as"]], external


def commands_of(root: Path, deploy: Path) -> set[str]:
    """Returns the command lines of the app that the book and the files print."""
    files = [path for path in deploy.rglob("*") if path.is_file() and path.suffix not in (".json", ".conf")]
    texts = [path.read_text() for path in files]
    lines = [line for text in texts for line in arguments(text)]
    lines += re.findall(r"^Exec\w+=-?/usr/local/bin/acme (.*)", "\n".join(texts), re.MULTILINE)
    for page in (root / "docs/src").glob("*.md"):
        text = page.read_text()
        lines += re.findall(r"`acme ([a-z][^`]*)`", text)
        for block in re.findall(r"^ *```(?:sh|console)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
            block = block.replace("\\\n", " ")
            lines += re.findall(r"^ *(?:\$ )?(?:[A-Z_]+=\S+ )*acme ([a-z].*)", block, re.MULTILINE)
            lines += arguments(block)
    # What follows belongs to the shell.
    return {re.split(r"\s+(?:[|>;&#]|&&)", line)[0].rstrip(" …") for line in lines}


def arguments(text: str) -> list[str]:
    """Returns the arguments of each call of the app's program, which may be in double quotes."""
    return ["".join(found) for found in re.findall(rf'"{PROGRAM} ([a-z][^"]*)"|{PROGRAM} ([a-z].*)', text)]


def seconds(text: str) -> int:
    """Returns a duration such as `70s` or `70` in seconds."""
    return int(text.removesuffix("s"))


if __name__ == "__main__":
    main()
