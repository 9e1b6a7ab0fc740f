"""Checks Grafana's boards and Prometheus's rules of deploy/observability.

`boards.py files ROOT FOLDER` compares their expressions with the table of metrics in docs/src/metrics.md, checks the layout of the
boards, and writes every expression of the boards as a rule into FOLDER/expressions.yml, for promtool.

`boards.py live ROOT PROMETHEUS` asks the Prometheus at that URL for every expression whose metrics it has read: each must return data.

`boards.py lint PROMTOOL` passes standard input, a response of /metrics, to `promtool check metrics`.
"""

import json
import math
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

# Metrics of exporters and of Prometheus itself.
EXTERNAL = {
    "up",
    "probe_success",
    "probe_ssl_earliest_cert_expiry",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_notifications_dropped_total",
    "alertmanager_notifications_failed_total",
}

# Metrics that an app emits in every run; an expression over them that returns nothing is an error.
ALWAYS = {
    "http_requests_total",
    "http_request_duration_seconds",
    "http_requests_in_progress",
    "db_pool_connections",
    "db_queries_total",
    "db_query_duration_seconds",
    "background_jobs_total",
    "background_job_duration_seconds",
    "process_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_threads",
    "app_uptime_seconds",
    "system_info",
}

# Gauges whose names end in `_total`.
ALLOWED_LINT = ("users_total", "active_subscriptions_total")

# Labels that Prometheus adds.
ADDED_LABELS = {"job", "instance", "le"}

# `job` of a job queue's metrics, which the scrape's own label `job` displaces.
DISPLACED = {"exported_job": "job"}

KEYWORDS = {
    "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "and", "or", "unless",
    "sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "stddev", "inf", "nan",
}

# The values of Grafana's variables. The window is short, because the check on a running app is.
VARIABLES = {"$__rate_interval": "1m", "$__range": "5m", "$__interval": "15s", "$job": "omnistack", "$instance": ".*"}

# The width of a board, in columns.
COLUMNS = 24

PORTS = {
    "prometheus": {"9090"},
    "alertmanager": {"9093"},
    "grafana": {"3000"},
    "jaeger": {"16686", "4317", "4318", "9411", "14268", "14250", "6831/udp", "6832/udp"},
    "node-exporter": set(),
    "blackbox-exporter": set(),
}


def metrics(root: Path) -> dict:
    """Returns kind and labels of each metric of the table."""
    page = (root / "docs/src/metrics.md").read_text()
    table = page.split("<!-- begin generated -->")[1].split("<!-- end generated -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| `[^`]*` \| ([^|]*) \|", table, re.MULTILINE)
    assert len(rows) >= 17, "docs/src/metrics.md has no table of metrics"
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def boards(root: Path) -> list:
    paths = sorted((root / "deploy/observability/grafana/dashboards").glob("*.json"))
    assert paths, "there are no boards"
    return [(path.name, json.loads(path.read_text())) for path in paths]


def board_expressions(root: Path):
    """Yields the place and the expression of each query of the boards, with values in place of the variables."""
    for name, board in boards(root):
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                windows = re.findall(r"\[([^\]]+)\]", re.sub(r'"[^"]*"', '""', expression))
                fixed = [window for window in windows if window not in ("$__rate_interval", "$__range")]
                assert not fixed, f"{name}: {panel['title']}: a fixed window {fixed} instead of $__rate_interval"
                for variable, value in VARIABLES.items():
                    expression = re.sub(re.escape(variable) + r"\b", value, expression)
                assert "$" not in expression, f"{name}: {panel['title']}: an unknown variable in {expression}"
                yield f"{name}: {panel['title']}", expression


def rule_groups(root: Path):
    for path in sorted((root / "deploy/observability/prometheus/rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield path.name, rule


def selectors(expression: str):
    """Yields the name of each metric in an expression and the labels that its selector names."""
    text = re.sub(r'"[^"]*"', '""', expression)
    # A selector by name, such as {__name__=~"a|b"}, is one of another program's metrics.
    text = re.sub(r'\{__name__=~""\}', "", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    text = re.sub(r"\boffset\s+\w+", "", text)
    for match in re.finditer(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\s*(\(|\{([^}]*)\})?", text):
        name, follows, matchers = match.groups()
        if follows == "(" or name.lower() in KEYWORDS:
            continue
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers or ""))


def grouped(expression: str) -> set:
    """Returns the labels that an expression groups or joins by."""
    text = re.sub(r'"[^"]*"', '""', expression)
    lists = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", text)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}


def base(name: str, table: dict) -> str:
    """Returns the metric that a series belongs to: a histogram's without _bucket, _sum or _count."""
    found = re.fullmatch(r"(\w+)_(?:bucket|sum|count)", name)
    return found[1] if found and table.get(found[1], ("",))[0] == "histogram" else name


def check_expression(place: str, expression: str, table: dict, recorded: set) -> None:
    known = set(ADDED_LABELS)
    external = False
    for name, labels in selectors(expression):
        if name in EXTERNAL or name in recorded:
            external = True
            continue
        metric = base(name, table)
        assert metric in table, f"{place}: docs/src/metrics.md has no metric {name}"
        kind, own = table[metric]
        assert kind != "histogram" or metric != name, f"{place}: {name} is a histogram: use its _bucket, _sum or _count"
        unknown = {DISPLACED.get(label, label) for label in labels - ADDED_LABELS} - own
        assert not unknown, f"{place}: {name} has no label {sorted(unknown)}"
        known |= own
    unknown = {DISPLACED.get(label, label) for label in grouped(expression)} - known
    assert external or not unknown, f"{place}: no metric of the expression has the label {sorted(unknown)}"


def check_layout(name: str, board: dict) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)), f"{name}: two panels have the same id"
    taken = {}
    for panel in board["panels"]:
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= COLUMNS, f"{name}: {panel['title']} is wider than the board"
        for x in range(position["x"], position["x"] + position["w"]):
            for y in range(position["y"], position["y"] + position["h"]):
                other = taken.setdefault((x, y), panel["title"])
                assert other is panel["title"], f"{name}: {panel['title']} overlaps {other}"
        if panel["type"] != "row":
            assert panel["description"], f"{name}: {panel['title']} has no description"
            for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
                assert source == {"type": "prometheus", "uid": "${datasource}"}, f"{name}: {panel['title']}: {source}"
            letters = [target["refId"] for target in panel["targets"]]
            assert len(letters) == len(set(letters)), f"{name}: {panel['title']}: two queries have the same refId"
    assert board["id"] is None and board["schemaVersion"] == 42, name
    assert re.fullmatch(r"[a-zA-Z0-9_-]{8,40}", board["uid"]), f"{name}: uid"
    first = board["templating"]["list"][0]
    assert (first["type"], first["name"]) == ("datasource", "datasource"), f"{name}: the variable `datasource`"


def check_stack(root: Path) -> None:
    """Checks ports, pinned images and mounted files of the stack, and the provisioning files of Grafana."""
    folder = root / "deploy/observability"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert services.keys() == PORTS.keys(), services.keys()
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"{name}: {service['image']} is no pinned version"
        ports = {port.split(":", 2)[2] for port in service.get("ports", [])}
        assert ports == PORTS[name], f"{name} has the ports {ports}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            path = volume.split(":")[0]
            assert not path.startswith("./") or (folder / path).exists(), f"{name}: {path} does not exist"
    assert "JAEGER_LISTEN_HOST" in services["jaeger"]["environment"]
    provisioning = folder / "grafana/provisioning"
    sources = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    uids = [source["uid"] for source in sources]
    assert len(uids) == len(set(uids)) and "omnistack-prometheus" in uids, uids
    (provider,) = yaml.safe_load((provisioning / "dashboards/omnistack.yml").read_text())["providers"]
    mounts = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["type"] == "file" and provider["options"]["path"] in mounts, provider
    # Grafana computes $__rate_interval from the interval of the scrapes.
    config = yaml.safe_load((folder / "prometheus/prometheus.yml").read_text())
    interval = next(source["jsonData"]["timeInterval"] for source in sources if source["type"] == "prometheus")
    assert interval == config["global"]["scrape_interval"], interval


def files(root: Path, folder: Path) -> None:
    table = metrics(root)
    recorded = {rule["record"] for _, rule in rule_groups(root) if "record" in rule}
    for name, board in boards(root):
        check_layout(name, board)
    uids = [board["uid"] for _, board in boards(root)]
    assert len(uids) == len(set(uids)), f"two boards have the same uid: {uids}"
    check_stack(root)
    expressions = list(board_expressions(root))
    errors = []
    for name, rule in rule_groups(root):
        place = f"{name}: {rule.get('alert') or rule['record']}"
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning"), place
            assert rule["annotations"].keys() == {"summary", "action"}, place
        expressions.append((place, rule["expr"]))
    for place, expression in expressions:
        try:
            check_expression(place, expression, table, recorded)
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n" + "\n".join(errors)
    page = (root / "docs/src/dashboards.md").read_text()
    undocumented = [rule["alert"] for _, rule in rule_groups(root) if "alert" in rule and f"`{rule['alert']}`" not in page]
    assert not undocumented, f"docs/src/dashboards.md does not name {undocumented}"
    rules = [
        {"record": f"expression:{number}", "expr": expression}
        for number, (_, expression) in enumerate(board_expressions(root))
    ]
    text = yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]})
    (folder / "expressions.yml").write_text(text)
    print(f"{len(uids)} boards with {len(rules)} expressions, {len(expressions) - len(rules)} rules")


def ask(prometheus: str, path: str, **parameters: str):
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as response:
        answer = json.load(response)
    assert answer["status"] == "success", answer
    return answer["data"]


def wait_for_rules(prometheus: str) -> list:
    """Waits until Prometheus has evaluated every rule, and returns the rules."""
    for _ in range(120):
        groups = ask(prometheus, "rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        if rules and all(rule["health"] != "unknown" for rule in rules):
            return rules
        time.sleep(0.5)
    raise AssertionError(f"rules that were not evaluated within a minute: {rules}")


def live(root: Path, prometheus: str) -> None:
    for rule in wait_for_rules(prometheus):
        assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"
    table = metrics(root)
    scraped = set(ask(prometheus, "label/__name__/values"))
    emitted = {base(name, table) for name in scraped}
    missing = ALWAYS - emitted
    assert not missing, f"the app has not emitted {sorted(missing)}"
    recorded = [(f"{name}: {rule['record']}", rule["record"]) for name, rule in rule_groups(root) if "record" in rule]
    answered, skipped, errors = 0, set(), []
    for place, expression in [*board_expressions(root), *recorded]:
        names = {name for name, _ in selectors(expression)}
        absent = names - scraped
        if absent and not {base(name, table) for name in absent} & ALWAYS:
            skipped |= absent
            continue
        result = ask(prometheus, "query", query=expression)["result"]
        values = [float(sample["value"][1]) for sample in result]
        # A metric that is registered and never used makes ratios and percentiles without a value.
        optional = {base(name, table) for name in names} - ALWAYS
        if any(optional or math.isfinite(value) for value in values):
            answered += 1
        else:
            errors.append(f"{place}: {expression} returned {values}")
    assert not errors, "\n" + "\n".join(errors)
    print(f"{answered} expressions returned data; the app does not emit {', '.join(sorted(skipped)) or 'no metric less'}")


def lint(promtool: str) -> None:
    exposition = sys.stdin.buffer.read()
    assert b"# TYPE http_requests_total counter" in exposition, exposition[:500]
    process = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)
    lines = (process.stdout + process.stderr).decode().splitlines()
    allowed = tuple(f"{name} non-counter metrics should not have" for name in ALLOWED_LINT)
    unexpected = [line for line in lines if line.strip() and not line.startswith(allowed)]
    assert not unexpected and process.returncode in (0, 3), unexpected or process.returncode
    print(f"promtool: {len(lines)} of {len(ALLOWED_LINT)} allowed lines")


command, *arguments = sys.argv[1:]
if command == "files":
    files(Path(arguments[0]), Path(arguments[1]))
elif command == "live":
    live(Path(arguments[0]), arguments[1])
elif command == "lint":
    lint(arguments[0])
else:
    sys.exit(__doc__)
