"""Checks the files of deploy/elk with a parser of Logstash pipelines that is not Logstash's own.

The argument is the root of the repository. The pipeline, the template and the app's log must agree on the names of fields.
"""

import json
import re
import sys
from pathlib import Path

import yaml
from logstash_pipeline_parser import Pipeline

PORTS = {"elasticsearch": {9200}, "logstash": {5044, 9600}, "kibana": {5601}, "filebeat": set()}


def main() -> None:
    root = Path(sys.argv[1])
    folder = root / "deploy/elk"
    pipeline = Pipeline.from_file(folder / "logstash/pipeline/omnistack.conf").parse()
    assert [section for section, _ in pipeline] == ["input", "filter", "output"], pipeline
    assert settings(pipeline, "beats")["port"] == [5044]
    template = json.loads((folder / "logstash/templates/omnistack-logs.json").read_text())
    (pattern,) = template["index_patterns"]
    index = settings(pipeline, "elasticsearch")["index"][0]
    assert index.startswith(pattern.removesuffix("*")), f"{index} is not an index of {pattern}"

    mapped = set(fields(template["template"]["mappings"]["properties"]))
    source = (root / "omnistack-core/src/log/ecs.rs").read_text()
    table = source.split("const NAMES", 1)[1].split("];", 1)[0]
    named = dict(re.findall(r'\("(\w+)", "([\w.]+)"\)', table))
    assert len(named) >= 10, f"the names of ECS in ecs.rs: {named}"
    named |= {"level": "log.level", "target": "log.logger", "trace_id": "trace.id", "span_id": "span.id"}
    # Logstash computes the duration, because its unit changes.
    renamed = {"micros": "event.duration"}
    for rename in (value[0] for name, value in plugins(pipeline) if name == "rename"):
        renamed |= {dotted(old).removeprefix("line."): dotted(new[0]) for old, new in rename if old != "line"}
    assert renamed == named, f"the pipeline renames {renamed}, the app writes {named}"
    unmapped = set(named.values()) - mapped
    assert not unmapped, f"the template has no mapping of {sorted(unmapped)}"

    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert services.keys() == PORTS.keys(), services.keys()
    for name, service in services.items():
        ports = {int(port.rsplit(":", 1)[1]) for port in service.get("ports", [])}
        assert ports == PORTS[name], f"{name} has the ports {ports}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    versions = {service["image"].rsplit(":", 1)[1] for service in services.values()}
    assert len(versions) == 1 and re.fullmatch(r"\d+\.\d+\.\d+", min(versions)), f"one pinned version: {versions}"
    yaml.safe_load((folder / "filebeat/filebeat.yml").read_text())
    print(f"the pipeline names {len(renamed)} fields as the app and the template do")


def plugins(tree):
    """Yields each name and its value, at every level of the pipeline."""
    if isinstance(tree, list):
        if len(tree) == 2 and isinstance(tree[0], str):
            yield tree[0], tree[1]
        for part in tree:
            yield from plugins(part)


def settings(pipeline, plugin: str) -> dict:
    return next({name: value for name, value in body} for name, body in plugins(pipeline) if name == plugin)


def dotted(name: str) -> str:
    """Returns the dotted form of a field reference, such as `log.level` of `[log][level]`."""
    return ".".join(re.findall(r"[^\[\]]+", name))


def fields(properties: dict, prefix: str = ""):
    for name, field in properties.items():
        yield prefix + name
        yield from fields(field.get("properties", {}), f"{prefix}{name}.")


main()
