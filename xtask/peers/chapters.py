"""Runs the commands of the book's chapters about production as they are printed, against the built app on PostgreSQL.

The arguments are the root of the repository, the built app, the URL of a database whose role may create databases,
Locust's program, and a Python with moto, which serves the bucket of backups. Commands that need a service which a test
machine does not have do not run: kubectl parses its commands, and the files and names in them must exist. Each program is
in RUNS or in ELSEWHERE; a command of another program is an error. The files of the app are in a temporary folder. In
commands, paths below `/usr/local/bin` and `/etc` are replaced by paths in this folder, and placeholders such as QUEUE by
values.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from deploy import known_settings

PAGES = ["migrations", "deployment", "deployment-*", "backup", "load-testing", "runbook"]
# Programs whose commands do not run here, and what they need.
ELSEWHERE = {
    "cargo": "the sources; other steps of the tests build and run them",
    "docker": "a container engine",
    "fly": "an account of Fly.io",
    "gdb": "a process that hangs",
    "helm": "a cluster",
    "journalctl": "systemd as the first process",
    "kubectl": "a cluster",
    "python3": "the package index; Locust is installed from the same list of versions",
    "railway": "an account of Railway",
    "render": "an account of Render",
    "systemctl": "systemd as the first process",
    "systemd-analyze": "the units, which another step gives it",
    "systemd-run": "systemd as the first process",
}
RUNS = ["/usr/local/bin/app", "acme", "curl", "export", "find", "install", "load/bin/locust", "openssl", "select"]
# The longest time that a command or the start of the app takes, in seconds.
DEADLINE = 120
# The errors of PostgreSQL for statements that are valid, but that the role or the transaction may not run.
UNDERSTOOD = {"25001", "42501"}
# A Kubernetes configuration whose server never responds.
NO_CLUSTER = """{apiVersion: v1, kind: Config, current-context: none,
  clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}],
  contexts: [{name: none, context: {cluster: none, user: ""}}]}"""


def main() -> None:
    root, app, url, locust, moto = Path(sys.argv[1]), *sys.argv[2:]
    settings = known_settings(app)
    with tempfile.TemporaryDirectory(prefix="omnistack-chapters-") as folder:
        place = Place(root, app, url, locust, Path(folder))
        place.serve_bucket(moto)
        try:
            for page in [page for pattern in PAGES for page in sorted((root / "docs/src").glob(f"{pattern}.md"))]:
                run_page(place, page, settings)
        finally:
            place.end()
    for reason in sorted(set(place.left_out.values())):
        print(f"needs {reason}: {sum(reason == other for other in place.left_out.values())} commands")
    print(f"{place.ran} commands and statements ran as printed")


class Place:
    """A temporary folder with the app, its databases, and its processes."""

    def __init__(self, root: Path, app: str, url: str, locust: str, folder: Path) -> None:
        self.root, self.folder, self.server = root, folder, url
        self.psql = shutil.which("psql", path=f"{os.environ.get('TEST_POSTGRES_BIN', '')}:{os.environ['PATH']}")
        assert self.psql, "psql is not installed"
        self.databases, self.processes, self.left_out, self.ran = [], [], {}, 0
        self.port, self.worker_port = free_port(), free_port()
        bin = folder / "usr/local/bin"
        for path in [bin, folder / "etc/systemd/system", folder / "target/dist", folder / "load/bin"]:
            path.mkdir(parents=True)
        for name in [bin / "acme", bin / "app", folder / "target/dist/acme"]:
            name.write_text(f'#!/bin/sh\nexec {shlex.quote(str(Path(app).resolve()))} "$@"\n')
            name.chmod(0o755)
        for name in ["deploy", "xtask"]:
            (folder / name).symlink_to(root / name)
        (folder / "load/bin/locust").symlink_to(Path(locust).resolve())
        (folder / "acme.env").write_text("PUBLIC_URL=https://app.example.com\n")
        (folder / "secrets.env").write_text("DATABASE_URL=postgres://\n")
        (folder / "kubeconfig").write_text(NO_CLUSTER)
        key = subprocess.run(["openssl", "rand", "-base64", "32"], check=True, capture_output=True, text=True).stdout
        self.env = {
            "PATH": f"{bin}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(folder / "kubeconfig"),
            "IMAGE": "ghcr.io/example/acme@sha256:" + "0" * 64,
            "APP": f"http://127.0.0.1:{self.port}",
            "DATABASE_URL": self.create_database(),
            "AUTH_VERIFIED_EMAIL": "false",
            "BACKUP_KEYS": f"2030:{key.strip()}",
            "HOST": "127.0.0.1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HTTP_RATE_LIMIT": "off",
            "LOG_LEVEL": "error",
            "PORT": str(self.port),
            "PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "TRUSTED_PROXIES": "127.0.0.1/32",
            "WEBHOOKS_STANDARD_SECRETS": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "WORKER_HEALTH_ADDRESS": f"127.0.0.1:{self.worker_port}",
        }
        # The statements of the book run beside the app, in a database that has its tables.
        self.statements = self.create_database()
        self.shell("acme migrate", DATABASE_URL=self.statements)

    def create_database(self) -> str:
        """Creates an empty database and returns its URL."""
        name = f"omnistack_chapters_{os.getpid()}_{len(self.databases)}"
        assert self.sql(f"create database {name}", self.server) == "", "the role can't create databases"
        self.databases.append(name)
        return urlsplit(self.server)._replace(path=f"/{name}").geturl()

    def sql(self, statements: str, url: str | None = None) -> str:
        """Runs statements, and returns the codes of their errors."""
        command = [self.psql, "--no-psqlrc", "--quiet", "--set=VERBOSITY=sqlstate", "--output=/dev/null"]
        command.append(url or self.statements)
        done = subprocess.run(command, input=statements, capture_output=True, text=True, timeout=DEADLINE)
        codes = " ".join(re.findall(r"ERROR: +(\w{5})$", done.stderr, re.MULTILINE))
        return codes or (done.stderr if done.returncode else "")

    def shell(self, script: str, expect: int = 0, **env: str) -> str:
        """Runs a script in the folder, and returns its output."""
        command = ["bash", "-euo", "pipefail", "-c", script]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=self.folder, env=self.env | env, timeout=DEADLINE, **output)
        assert done.returncode == expect, f"`{script}` ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def serve_bucket(self, moto: str) -> None:
        """Starts an S3-compatible server with the bucket `backups`."""
        command = [moto, self.root / "xtask/peers/s3.py", "serve", "backups"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.processes.append(server)
        port = json.loads(server.stdout.readline())["port"]
        self.env["BACKUP_STORAGE_ENDPOINT"] = f"http://127.0.0.1:{port}"
        self.env |= {"BACKUP_STORAGE_KEY_ID": "id", "BACKUP_STORAGE_KEY": "secret"}

    def start(self) -> None:
        """Starts the app and its worker, and creates what commands need: an operator, files and a job."""
        log = self.folder / "serve.log"
        ready = {"serve": "acme health", "worker": f"acme health --address 127.0.0.1:{self.worker_port}"}
        for name, line in ready.items():
            with (self.folder / f"{name}.log").open("w") as output:
                command = [self.folder / "usr/local/bin/acme", name]
                env = self.env | {"JOBS_IN_SERVE": "false"}
                self.processes.append(subprocess.Popen(command, cwd=self.folder, env=env, stdout=output, stderr=output))
            self.shell(f"for second in $(seq {DEADLINE}); do {line} && exit; sleep 1; done; exit 1")
        email, password = re.search(r"sign in as +(\S+), password (\S+)", log.read_text()).groups()
        signed_in = self.post("/api/v1/public/auth/login", {"email": email, "password": password})
        self.env["OPERATOR"] = signed_in["access_token"]
        for number in range(2):
            self.post(f"/api/v1/app/files?name={number}.txt", number)
        self.post("/api/v1/app/exports", {})
        jobs = self.shell("acme jobs list").splitlines()[1]
        self.job, _, self.queue, self.name = jobs.split()[:4]

    def post(self, path: str, body) -> dict:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.env.get('OPERATOR', '')}"}
        request = urllib.request.Request(self.env["APP"] + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return json.load(response)

    def end(self) -> None:
        """Ends the processes and drops the databases."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(DEADLINE)
        for name in self.databases:
            self.sql(f"drop database if exists {name} with (force)", self.server)

    def with_values(self, line: str) -> str:
        """Returns a printed line with values for its placeholders."""
        line = re.sub(r"(?<![\w/])/(usr/local/bin|etc)/", rf"{self.folder}/\1/", line)
        line = line.replace("127.0.0.1:8081", f"127.0.0.1:{self.worker_port}")
        line = line.replace("https://staging.example.com", self.env["APP"])
        line = line.replace("TOKEN=…", "TOKEN=$OPERATOR").replace("whsec_…", self.env["WEBHOOKS_STANDARD_SECRETS"])
        # A short load is enough to see that it runs.
        line = line.replace("LOAD_SECONDS=180", "LOAD_SECONDS=10").replace("LOAD_RATE=10000", "LOAD_RATE=600")
        archives = sorted((self.folder / "backups").glob("acme-*.tar"))
        if archives:
            line = line.replace("backups/acme-2030-01-01T020000.tar", f"backups/{archives[-1].name}")
            line = re.sub(r"\bARCHIVE\b", f"backups/{archives[-1].name}", line)
        line = re.sub(r"\bMODULE/NAME\b", "projects/0001_projects", line)
        for placeholder, value in {"ID": "job", "NAME": "name", "QUEUE": "queue"}.items():
            line = re.sub(rf"(?<![\w/=]){placeholder}\b", lambda _, value=value: getattr(self, value), line)
        return re.sub(r"\(PID\)", "(0)", line)


def run_page(place: Place, page: Path, settings: set[str]) -> None:
    """Runs the commands and statements of a page in their order, and checks the names in its text."""
    text = page.read_text()
    for found in re.finditer(r"^ *```(\w*).*?\n(.*?)^ *```|(?<!`)`([^`\n]+)`(?!`)", text, re.MULTILINE | re.DOTALL):
        language, block, code = found.groups()
        try:
            if language == "sql":
                run_statements(place, block, is_denied=page.stem == "deployment-railway")
            elif language in ("sh", "console"):
                run_block(place, block, settings, language == "console")
            elif code and code.startswith("select "):
                run_statements(place, code, is_denied=False)
            elif code and is_command(code):
                run_command(place, f"acme {code}" if code.startswith("migrate ") else code, [])
        except AssertionError as error:
            raise AssertionError(f"{page.name}: {error}") from None
    check_names(place, page.name, text)


def is_command(code: str) -> bool:
    """Returns whether a piece of code in the text is a command, and not only the name of one."""
    program, *rest = code.split()
    return bool(rest) and "…" not in code and (program in RUNS or program in ELSEWHERE or code.startswith("migrate --"))


def run_block(place: Place, block: str, settings: set[str], has_output: bool) -> None:
    """Runs the lines of a block. In a block with output, commands begin with `$`, and the app must print the same."""
    variables = set(re.findall(r"\$\{(\w+)", (place.root / "deploy/compose.yaml").read_text()))
    exports, output = [], None
    for line in block.replace("\\\n", " ").splitlines():
        line = line.strip()
        if has_output and not line.startswith("$ "):
            wanted = output.pop(0) if output else "nothing"
            assert shape(line) == shape(wanted), f"the app prints\n{wanted}\nin place of\n{line}"
            continue
        assert not output, f"the book leaves out the output {output}"
        line = re.sub(r"\s+#.*", "", line.removeprefix("$ "))
        if setting := re.match(r"([A-Z_]+)=", line):
            assert setting[1] in settings | variables, f"the app has no setting {setting[1]}"
            continue
        printed = run_command(place, line, exports)
        # The output of a command is compared only if the page prints it.
        output = printed.splitlines() if has_output and "acme-2030" in block and printed else None


def shape(line: str) -> str:
    """Returns a line with the sign `#` in place of each number, time and version. The built app is called `Acme`."""
    return re.sub(r"\d[\d.:TZ-]*", "#", line).replace("KiB", "MiB").replace("Acme", "acme")


def run_command(place: Place, line: str, exports: list[str]) -> str:
    """Runs a command after the exports of its block, and returns its output."""
    program = shlex.split(line)[0]
    if line in ("acme serve", "acme worker"):
        place.ran += 1
        if "OPERATOR" not in place.env:
            place.start()
        return ""
    if program in ELSEWHERE:
        check_elsewhere(place, line, program)
        place.left_out[line] = ELSEWHERE[program]
        return ""
    assert program in RUNS, f"`{line}`: add the program to RUNS or ELSEWHERE of xtask/peers/chapters.py"
    line, env = place.with_values(line), {}
    if program == "export":
        exports.append(line)
    if bucket := re.search(r"s3://\S+", line):
        place.shell(f"acme backup {bucket[0]}")
    if line.startswith("acme restore") and "--check" not in line:
        env["DATABASE_URL"] = place.create_database()
    old = place.folder / "backups/old.tar"
    if program == "find":
        old.touch()
        month_ago = (datetime.now() - timedelta(days=32)).timestamp()
        os.utime(old, (month_ago, month_ago))
    printed = place.shell("\n".join([*exports, line]), **env)
    place.ran += 1
    if program == "find":
        assert not old.exists() and any((place.folder / "backups").iterdir()), f"`{line}` deletes other archives"
    if program == "curl":
        json.loads(printed)
    if program == "load/bin/locust":
        assert (place.folder / "results.ndjson").read_text(), f"`{line}` writes no results:\n{printed}"
    return printed


def check_elsewhere(place: Place, line: str, program: str) -> None:
    """Checks a command that can't run here: its files and names, and the error of kubectl without a cluster."""
    for path in re.findall(r"(?<![\w/])(?:deploy|xtask)/[\w./-]+", line):
        # `deploy/NAME` is also how kubectl names a deployment.
        assert (place.root / path).exists() or path == "deploy/acme-worker", f"`{line}`: there is no {path}"
    names = {
        "kubectl": (r"\b(?:job/|job |deployment/|deploy/)(acme-\w+)", manifest_names),
        "docker": (r"(?:--wait|--follow) ([a-z ]+)|(?:exec|run --rm) (\w+)", service_names),
        "systemctl": (r"\b(acme[\w -]*)$", unit_names),
    }
    if program in names:
        pattern, known = names[program]
        found = [group for match in re.finditer(pattern, line) for group in match.groups() if group]
        unknown = set(" ".join(found).split()) - known(place.root)
        assert not unknown, f"`{line}`: there is no {unknown}"
    if program == "kubectl" and shutil.which("kubectl"):
        local, _, _ = line.partition(" | ")
        if " --local " in local:
            image = yaml.safe_load(place.shell(local))["spec"]["template"]["spec"]["containers"][0]["image"]
            assert image == place.env["IMAGE"], f"`{local}` sets {image}"
        else:
            said = place.shell(line, expect=1)
            assert re.search(r"127\.0\.0\.1:1\b.*refused", said, re.DOTALL), f"`{line}`: {said}"


def manifest_names(root: Path) -> set[str]:
    texts = [path.read_text() for path in (root / "deploy/kubernetes").glob("*.yaml")]
    return {document["metadata"]["name"] for text in texts for document in yaml.safe_load_all(text)}


def service_names(root: Path) -> set[str]:
    return set(yaml.safe_load((root / "deploy/compose.yaml").read_text())["services"])


def unit_names(root: Path) -> set[str]:
    return {path.stem for path in (root / "deploy/systemd").glob("*.service")}


def run_statements(place: Place, statements: str, is_denied: bool) -> None:
    """Runs SQL. Statements for a superuser must only be valid."""
    if is_denied:
        for statement in filter(str.strip, statements.split(";")):
            code = place.sql(f"begin; {statement}; rollback;")
            assert code in UNDERSTOOD, f"`{statement.strip()}`: {code}"
    else:
        # The examples of migrations change the same column.
        place.sql("alter table if exists projects drop column if exists archived_at")
        if "archived_at" in statements and "add column" not in statements:
            place.sql("alter table projects add column archived_at timestamptz")
        code = place.sql(re.sub(r"\(PID\)", "(0)", statements) + ";")
        assert code == "", f"the statements fail with {code}:\n{statements}"
    if "create schema omnistack" in statements:
        moved = place.shell("acme migrate --plan", DATABASE_URL=place.statements, DATABASE_SCHEMA="omnistack")
        assert "nothing to do" in moved, f"tables are missing in the new schema:\n{moved}"
    place.ran += 1


def check_names(place: Place, page: str, text: str) -> None:
    """Checks the routes, alerts, boards and log targets that a page names."""
    routes = json.loads(place.shell("acme openapi"))["paths"]
    known = {(method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, methods in routes.items() for method in methods}
    for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/(?:api|health|metrics)[^`?]*)", text):
        path = re.sub(r"\{\w+\}|\b[A-Z]+\b", "{}", path)
        assert (method, path) in known, f"{page}: the app has no route {method} {path}"
    folder = place.root / "deploy/observability"
    rules = "".join(path.read_text() for path in (folder / "prometheus/rules").glob("*.yml"))
    for names in re.findall(r"[Aa]lerts? ((?:`\w+`(?:, )?)+)", text):
        for name in re.findall(r"\w+", names):
            assert f"alert: {name}\n" in rules, f"{page}: there is no alert {name}"
    titles = {json.loads(path.read_text())["title"] for path in (folder / "grafana/dashboards").glob("*.json")}
    for title in re.findall(r"\bboard \*([^*]+)\*", text):
        assert any(title.lower() in known.lower() for known in titles), f"{page}: there is no board {title} in {titles}"
    sources = [path for crate in place.root.glob("omnistack-*/src") for path in crate.rglob("*.rs")]
    for target in set(re.findall(r"target `(omnistack::\w+)`", text)):
        assert any(f'"{target}"' in path.read_text() for path in sources), f"{page}: there is no log target {target}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
