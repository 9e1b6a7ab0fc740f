"""Runs the session of the README as it is printed, against the built app, and compares what the README prints.

The arguments are the root of the repository and the built app. Ids, times, tokens and numbers that depend on the moment
may differ, and `…` in the README stands for any text. With the variable WRITE=1, the script puts what the app has
printed into the README instead of failing. The files of the app are in a temporary folder, and free ports replace those
of the README.
"""

import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# The ports of the README: the app's, and that of the receiver of webhooks.
PORTS = ["8080", "9000"]
# The longest time that a command takes, and the time after which a line that is not printed is missing, in seconds.
DEADLINE, PATIENCE = 180, 20
END = "__END_OF_COMMAND__"
# Commands whose output has further lines and other numbers when schedules have enqueued jobs.
GROWING = ["jobs list", "jobs queues"]
# What differs from run to run.
MASKS = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
    (r"msg_[0-9a-f]{32}", "MESSAGE"),
    (r"[A-Za-z0-9_+=-]{40,}", "TOKEN"),
    (r"\d+\.\d+(ms|µs)", "DURATION"),
    # Each installation checks services at another time.
    (r"\b\d+ \d-59/5", "SOMETIME"),
    (r'("(?:used|quantity|share|total|events)":)[\d.]+', r"\1NUMBER"),
]


def main() -> None:
    root, app = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    readme = root / "README.md"
    text = readme.read_text()
    with tempfile.TemporaryDirectory(prefix="omnistack-readme-") as folder:
        session = Session(root, app, Path(folder))
        try:
            written, ran, wrong = run_blocks(session, text)
        finally:
            session.end()
    assert ran, "the README has no session"
    if os.environ.get("WRITE") == "1":
        readme.write_text(written)
    elif wrong:
        sys.exit("\n".join(wrong) + f"\n{len(wrong)} commands print something else; WRITE=1 corrects the README")
    print(f"{ran} commands of the README ran as printed")


class Session:
    """The app, and a shell for the commands."""

    def __init__(self, root: Path, app: Path, folder: Path) -> None:
        self.folder, self.app_process = folder, None
        self.ports = {port: str(free_port()) for port in PORTS}
        (folder / "bin").mkdir()
        (folder / "xtask").symlink_to(root / "xtask")
        # `cargo run … -- ARGUMENTS` runs the app that is built already.
        cargo = folder / "bin/cargo"
        cargo.write_text(f'#!/bin/sh\nwhile [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done\nshift\nexec {shlex.quote(str(app))} "$@"\n')
        cargo.chmod(0o755)
        self.app = app
        kept = {name: os.environ[name] for name in ["LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE"] if name in os.environ}
        self.env = kept | {
            "HOME": os.environ["HOME"],
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PORT": self.ports["8080"],
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.shell = subprocess.Popen(
            ["bash"], cwd=folder, env=self.env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )
        self.lines = queue.Queue()
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.shell.stdout], daemon=True).start()

    def start_app(self, **env: str) -> None:
        """Starts the app, in place of the one that runs, and waits until it is ready."""
        self.stop_app()
        log = self.folder / "app.log"
        with log.open("w") as output:
            self.app_process = subprocess.Popen(
                [self.app], cwd=self.folder, env=self.env | env, stdout=output, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + DEADLINE
        while "  AI  " not in log.read_text():
            assert self.app_process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        password = re.search(r"password (\S+) \(shown once\)", log.read_text())
        if password:
            self.run(f"PASSWORD={shlex.quote(password[1])}", 0)

    def stop_app(self) -> None:
        if self.app_process:
            self.app_process.terminate()
            self.app_process.wait(timeout=DEADLINE)

    def run(self, command: str, lines: int) -> str:
        """Runs a command, and returns its output. Waits for so many lines, also after its end."""
        for port, own in self.ports.items():
            command = command.replace(port, own)
        self.shell.stdin.write(f"{command}\necho {END}\n")
        self.shell.stdin.flush()
        found, has_ended, until = [], False, time.monotonic() + DEADLINE
        while not has_ended or len(found) < lines:
            try:
                line = self.lines.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                break
            if line.rstrip("\n") == END:
                has_ended, until = True, time.monotonic() + PATIENCE
            elif line.strip():
                found.append(line.rstrip("\n"))
        assert has_ended, f"`{command}` does not end"
        output = "\n".join(found)
        for port, own in self.ports.items():
            output = output.replace(f":{own}", f":{port}")
        return output

    def end(self) -> None:
        os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.wait(timeout=DEADLINE)
        self.stop_app()


def run_blocks(session: Session, text: str) -> tuple[str, int, list[str]]:
    """Runs the blocks of commands. Returns the text with what was printed, the number of commands, and differences."""
    parts, ran, wrong = re.split(r"(```(?:console|sh)\n.*?```)", text, flags=re.DOTALL), 0, []
    for index, part in enumerate(parts):
        body = part.split("\n", 1)[1].removesuffix("```") if part.startswith("```") else ""
        start = re.search(r"^((?:\w+=\S+ )*)cargo run -p saas\b", body, re.MULTILINE)
        if part.startswith("```sh\n") and start:
            session.start_app(**dict(word.split("=", 1) for word in start[1].split()))
        if not part.startswith("```console\n"):
            continue
        written = []
        for command, printed in commands(body):
            output = printed
            if not command.startswith("read "):
                output = printed_by(session, command, printed)
                ran += 1
            if not fits(command, printed, output):
                wrong.append(f"$ {command}\nprints:\n{output}\nthe README has:\n{printed}\n")
                printed = output
            written.append("\n".join([f"$ {command}", *([printed] if printed else [])]))
        parts[index] = "```console\n" + "\n".join(written) + "\n```"
    return "".join(parts), ran, wrong


def commands(body: str) -> list[tuple[str, str]]:
    """Returns the commands of a block, each with what the README prints after it."""
    found = []
    for entry in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = entry.rstrip("\n").split("\n")
        end = 1
        # A shell says whether a command is complete.
        while end < len(lines) and not is_complete("\n".join(lines[:end])):
            end += 1
        found.append(("\n".join(lines[:end]), "\n".join(lines[end:])))
    return found


def is_complete(command: str) -> bool:
    done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True)
    return done.returncode == 0 and not done.stderr and not command.endswith("\\")


def printed_by(session: Session, command: str, printed: str) -> str:
    """Returns what a command prints. One that only reads is repeated while the app still does what it should show."""
    until = time.monotonic() + PATIENCE
    lines = len(printed.split("\n")) if printed else 0
    while True:
        output = session.run(command, lines)
        variable = re.match(r"(\w+)=\$\(", command)
        is_empty = variable and session.run(f"echo ${{#{variable[1]}}}", 1) == "0"
        reads = not re.search(r" -d | -X |&$|webhooks send", command)
        is_over = not reads or time.monotonic() > until
        assert not (is_empty and is_over), f"`{command}` leaves {variable[1]} empty"
        if is_over or (fits(command, printed, output) and not is_empty):
            return output
        time.sleep(0.5)


def fits(command: str, printed: str, output: str) -> bool:
    is_growing = any(growing in command for growing in GROWING)
    for pattern, mask in MASKS + ([(r" +\d+\b", " NUMBER")] if is_growing else []):
        printed, output = re.sub(pattern, mask, printed), re.sub(pattern, mask, output)
    if is_growing:
        return set(printed.split("\n")) <= set(output.split("\n"))
    expected = ".*".join(re.escape(part) for part in printed.split("…"))
    return re.fullmatch(expected, output, re.DOTALL) is not None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
