"""The six kinds of users. A task sends one request, so that the pace of a user is its rate of requests."""

import base64
import hashlib
import hmac
import itertools
import json
import random
import time
import uuid

import gevent
from accounts import ACCOUNTS, PASSWORD, PUBLIC, address
from locust import FastHttpUser, User, constant_throughput, task
from realtime import Connection
from results import Results
from settings import HOSTS, OPERATOR_TOKEN, PACE, PROFILE, RESULTS_FILE, WEBHOOK_SECRET

RESULTS = Results(RESULTS_FILE)
NUMBERS = itertools.count(1000)
PROJECTS = "/api/v1/app/projects"
FILES = "/api/v1/app/files"
# Projects and files that a user keeps. The plan of its team has a limit.
MAX_KEPT = 5
# Statuses by which the app refuses a request that it does not want now. It must say when to come again.
BUSY = (429, 503)
# The longest time that a user waits when the app tells it to, in seconds.
MAX_WAIT = 10


def reason(response):
    """Returns the code and the message of an error, which are the same for equal errors, or the start of the body."""
    try:
        error = response.json()["error"]
        return f"{error['code']}: {error['message']}"[:300]
    except Exception:
        return (response.text or "")[:300]


class HttpUser(FastHttpUser):
    """A user that sends requests, each from its own address."""

    abstract = True
    wait_time = constant_throughput(PACE)
    connection_timeout = 10
    network_timeout = 30

    def __init__(self, environment):
        self.number = next(NUMBERS)
        self.host = HOSTS[self.number % len(HOSTS)]
        super().__init__(environment)
        self.account = ACCOUNTS[self.number % len(ACCOUNTS)]
        self.headers = {"X-Forwarded-For": address(self.number)}

    def send(self, method, path, expected, name=None, headers=None, check=None, **options):
        """Sends a request and records what became of it. Returns the response if its status is the expected one, and
        `check`, which gets the response, finds nothing wrong."""
        name = name or path.split("?")[0]
        title = f"{method} {name}"
        started = time.perf_counter()
        headers = {**self.headers, **(headers or {})}
        with self.client.request(
            method, path, name=name, headers=headers, catch_response=True, allow_redirects=False, **options
        ) as response:
            seconds = time.perf_counter() - started
            status = response.status_code
            failure = refused = wait = None
            if status in BUSY:
                wait = (response.headers or {}).get("Retry-After")
                refused = status if wait else None
                failure = None if wait else f"{title}: {status} without Retry-After"
            elif status == 0:
                failure = f"{title}: {response.error!r}"[:300]
            elif status != expected:
                failure = f"{title}: {status} in place of {expected}: {reason(response)}"
            else:
                failure = check and check(response)
            RESULTS.add(self.kind, seconds, failure, refused)
            self.receive(response)
            if failure:
                response.failure(failure)
            else:
                response.success()
        if wait:
            gevent.sleep(min(MAX_WAIT, float(wait)))
        return response if status == expected and not failure else None


    def receive(self, response):
        """Takes from a response what later requests need."""


class ProjectsUser(HttpUser):
    """A user with projects."""

    abstract = True

    def __init__(self, environment):
        super().__init__(environment)
        self.projects = []

    def create_project(self, headers=None):
        if len(self.projects) >= MAX_KEPT:
            return self.delete_project()
        name = f"Load {uuid.uuid4()}"
        body = {"name": name, "description": "A project of the load."}
        created = self.send("POST", PROJECTS, 201, json=body, headers=headers)
        if created is not None:
            self.projects.append((created.json()["id"], name))

    def change_project(self):
        if not self.projects:
            return self.create_project()
        id, _ = random.choice(self.projects)
        body = {"description": f"Changed at {time.time()}"}
        self.send("PATCH", f"{PROJECTS}/{id}", 200, name=f"{PROJECTS}/ID", json=body)

    def read_project(self):
        if not self.projects:
            return self.create_project()
        id, name = random.choice(self.projects)
        check = lambda response: None if response.json()["name"] == name else "GET project: another project"
        self.send("GET", f"{PROJECTS}/{id}", 200, name=f"{PROJECTS}/ID", check=check)

    def delete_project(self):
        id, _ = self.projects[-1]
        # The app may refuse it for now; then it is deleted later.
        if self.send("DELETE", f"{PROJECTS}/{id}", 204, name=f"{PROJECTS}/ID") is not None:
            self.projects.pop()


class BrowserUser(ProjectsUser):
    """A user with a browser: signs in by password, keeps the session in cookies, and refreshes it."""

    kind = "browser"
    weight = 35

    def __init__(self, environment):
        super().__init__(environment)
        self.headers["Sec-Fetch-Site"] = "same-origin"
        self.is_signed_in = False
        self.cookies = {}
        self.cursor = None

    def receive(self, response):
        # Cookies with `Secure` are not sent over HTTP, so no client does it by itself.
        lines = (response.headers or {}).get("Set-Cookie", [])
        for line in [lines] if isinstance(lines, str) else lines:
            name, value = line.split(";")[0].split("=", 1)
            self.cookies[name] = value
        if lines:
            self.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def sign_in(self):
        body = {"email": self.account.email, "password": PASSWORD, "mode": "cookie"}
        self.is_signed_in = self.send("POST", f"{PUBLIC}/login", 200, json=body) is not None

    @task
    def browse(self):
        if not self.is_signed_in:
            return self.sign_in()
        step = random.random()
        if step < 0.15:
            self.send("GET", "/api/v1/app/users/me", 200)
        elif step < 0.50:
            self.list_projects()
        elif step < 0.62:
            self.create_project()
        elif step < 0.74:
            self.change_project()
        elif step < 0.86:
            self.send("GET", "/api/v1/app/notifications/unread-count", 200)
        elif step < 0.92:
            self.send("GET", "/auth/sign-in", 200)
        elif step < 0.94:
            self.send("POST", PROJECTS, 422, name=f"{PROJECTS} (wrong form)", json={"name": ""})
        elif step < 0.96:
            self.send("GET", "/nowhere", 404)
        elif step < 0.995:
            self.send("POST", f"{PUBLIC}/refresh", 200, json={"mode": "cookie"})
        else:
            # The user comes again with the same browser. Signing in hashes a password, which is meant to be slow.
            self.sign_in()

    def list_projects(self):
        path = f"{PROJECTS}?limit=10" + (f"&cursor={self.cursor}" if self.cursor else "")
        page = self.send("GET", path, 200)
        self.cursor = page.json().get("next_cursor") if page is not None else None


class ApiKeyUser(ProjectsUser):
    """A program with an API key: creates with idempotency keys, searches, reads."""

    kind = "API key"
    weight = 25

    def __init__(self, environment):
        super().__init__(environment)
        self.headers["X-API-Key"] = self.account.api_key
        if PROFILE == "spike":
            # The programs of one customer, behind one address. Its limit refuses a part of the spike.
            self.headers["X-Forwarded-For"] = address(1)

    @task
    def call(self):
        step = random.random()
        if step < 0.35:
            self.send("GET", f"{PROJECTS}?limit=20", 200)
        elif step < 0.50:
            self.send("GET", f"{PROJECTS}?q=Load&limit=10", 200)
        elif step < 0.65:
            self.read_project()
        elif step < 0.80:
            self.create_project({"Idempotency-Key": str(uuid.uuid4())})
        elif step < 0.95:
            self.change_project()
        elif step < 0.97:
            wrong = {"X-API-Key": "omni_live_wrong"}
            self.send("POST", PROJECTS, 401, name=f"{PROJECTS} (wrong key)", headers=wrong, json={})
        else:
            self.send("GET", "/api/v1/app/billing/plan", 200)


class UploadUser(HttpUser):
    """A program that uploads files, reads them and deletes them."""

    kind = "uploader"
    weight = 10

    def __init__(self, environment):
        super().__init__(environment)
        self.headers["Authorization"] = f"Bearer {self.account.token}"
        self.files = []

    @task
    def work(self):
        step = random.random()
        if step < 0.40 or not self.files:
            self.upload() if len(self.files) < MAX_KEPT else self.delete()
        elif step < 0.75:
            self.download()
        else:
            self.send("GET", f"{FILES}?limit=10", 200)

    def upload(self):
        content = random.randbytes(random.choice((1_000, 16_000, 48_000)))
        name = f"{FILES}?name={uuid.uuid4()}.bin"
        created = self.send("POST", name, 201, data=content, headers={"Content-Type": "application/octet-stream"})
        if created is not None:
            self.files.append((created.json()["id"], hashlib.sha256(content).digest()))

    def download(self):
        id, digest = random.choice(self.files)
        same = lambda response: hashlib.sha256(response.content).digest() == digest
        check = lambda response: None if same(response) else "GET content: other bytes than were uploaded"
        self.send("GET", f"{FILES}/{id}/content", 200, name=f"{FILES}/ID/content", check=check)

    def delete(self):
        id, _ = self.files[0]
        if self.send("DELETE", f"{FILES}/{id}", 204, name=f"{FILES}/ID") is not None:
            self.files.pop(0)


class AdminUser(HttpUser):
    """An operator that looks at everything."""

    kind = "admin"
    weight = 5
    pages = (
        "/api/v1/admin/users?page=1",
        "/api/v1/admin/tenants?page=1",
        "/api/v1/admin/audit-logs?limit=20",
        "/api/v1/admin/webhooks/events?limit=20",
        "/api/v1/admin/jobs?limit=20",
        "/api/v1/admin/dashboard/stats",
        "/api/v1/admin/realtime/stats",
    )

    def __init__(self, environment):
        super().__init__(environment)
        self.headers["Authorization"] = f"Bearer {OPERATOR_TOKEN}"

    @task
    def look(self):
        self.send("GET", random.choice(self.pages), 200)


class WebhookUser(HttpUser):
    """A provider that sends signed webhooks, one in ten of them twice."""

    kind = "webhooks"
    weight = 15

    def __init__(self, environment):
        super().__init__(environment)
        self.key = base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
        self.last = None

    @task
    def report(self):
        if self.last and random.random() < 0.1:
            (id, body), expected, self.last = self.last, "duplicate", None
        else:
            id, expected = f"msg_{uuid.uuid4()}", "received"
            body = json.dumps({"type": "load.sent", "data": {"number": self.number, "text": "x" * 200}})
            self.last = id, body
        now = int(time.time())
        signature = hmac.new(self.key, f"{id}.{now}.{body}".encode(), hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(now),
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }

        def check(response):
            status = response.json()["status"]
            return None if status == expected else f"the webhook is {status} in place of {expected}"

        sent = self.send("POST", "/api/v1/public/webhooks/standard", 200, data=body, headers=headers, check=check)
        if sent is None:
            # It may be stored or not.
            self.last = None


class RealtimeUser(User):
    """A client of realtime: publishes in its team's room, and waits until the message comes back. It reconnects now and
    then, and must then get what it has missed."""

    kind = "realtime"
    weight = 10
    wait_time = constant_throughput(PACE)

    def __init__(self, environment):
        super().__init__(environment)
        number = next(NUMBERS)
        account = ACCOUNTS[number % len(ACCOUNTS)]
        self.connection = Connection(HOSTS[number % len(HOSTS)], account.token, address(number))

    @task
    def chat(self):
        if not self.connection.is_open:
            self.measure("connect", self.connection.open)
        elif random.random() < 0.02:
            self.connection.close()
            self.measure("reconnect", self.connection.open)
        else:
            self.measure("publish", self.connection.publish)

    def on_stop(self):
        self.connection.close()

    def measure(self, name, act):
        started = time.perf_counter()
        failure = None
        try:
            act()
        except Exception as error:
            failure = f"WS {name}: {error!r}"[:300]
            self.connection.close()
        seconds = time.perf_counter() - started
        RESULTS.add(self.kind, seconds, failure)
        self.environment.events.request.fire(
            request_type="WS",
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            exception=RuntimeError(failure) if failure else None,
            context={},
        )
