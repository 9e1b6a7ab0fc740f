"""Receivers of traces, metrics and errors, each made by others. The first line of the output is a JSON object with what the app
needs to reach the receiver; each further line is what it received. It ends at the end of its standard input.

    telemetry.py otlp     opentelemetry-proto over HTTP and gRPC, and py_zipkin: prints the spans and metrics
    telemetry.py rotel    rotel, an OpenTelemetry collector: prints its log
    telemetry.py bugsink  Bugsink, a server that speaks Sentry's protocol: for each line `issues N` of its input, prints its
                          issues once it has stored N events
"""

import ctypes
import http.server
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent import futures

PROGRAMS = pathlib.Path(sys.executable).parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ends_with_this_process():
    """Makes Linux end the child when this process ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def say(**line):
    print(json.dumps(line), flush=True)


def otlp():
    import grpc
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    )
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )
    from py_zipkin import Encoding
    from py_zipkin.encoding import convert_spans

    def attributes(of):
        return {pair.key: next(iter(MessageToDict(pair.value).values()), None) for pair in of}

    def spans(request):
        for resource in request.resource_spans:
            service = attributes(resource.resource.attributes).get("service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield {
                        "service": service,
                        "name": span.name,
                        "kind": span.Kind if isinstance(span.kind, str) else type(span).SpanKind.Name(span.kind),
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "ended": span.end_time_unix_nano >= span.start_time_unix_nano > 0,
                        "status": span.status.code,
                        "attributes": attributes(span.attributes),
                    }

    def metrics(request):
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    points = [MessageToDict(point) | {"attributes": attributes(point.attributes)} for point in data.data_points]
                    yield {"name": metric.name, "unit": metric.unit, "kind": metric.WhichOneof("data"), "points": points}

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path == "/v1/traces":
                say(via="http", spans=list(spans(ExportTraceServiceRequest.FromString(body))))
                answer = ExportTraceServiceResponse().SerializeToString()
            elif self.path == "/v1/metrics":
                say(via="http", metrics=list(metrics(ExportMetricsServiceRequest.FromString(body))))
                answer = ExportMetricsServiceResponse().SerializeToString()
            elif self.path == "/api/v2/spans":
                # py_zipkin decodes Zipkin v2 JSON to encode it again; version 1 is another format of its own.
                decoded = json.loads(convert_spans(body, Encoding.V2_JSON, Encoding.V2_JSON))
                say(via="zipkin", spans=decoded)
                answer = b""
            else:
                say(via="call", path=self.path, traceparent=self.headers.get("traceparent"))
                answer = b""
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):
            say(via="grpc", spans=list(spans(request)))
            return ExportTraceServiceResponse()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    grpc_server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), grpc_server)
    grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    say(http=f"http://127.0.0.1:{server.server_port}", grpc=f"http://127.0.0.1:{grpc_port}")
    sys.stdin.read()


def rotel():
    import rotel as package

    http_port, grpc_port = free_port(), free_port()
    command = [
        str(pathlib.Path(package.__file__).parent / "rotel-agent"),
        "start",
        "--exporter=blackhole",
        "--debug-log=traces",
        "--debug-log-verbosity=detailed",
        f"--otlp-http-endpoint=127.0.0.1:{http_port}",
        f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}",
    ]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=ends_with_this_process)

    def forward():
        for line in agent.stdout:
            say(log=line.rstrip())

    threading.Thread(target=forward, daemon=True).start()
    for port in (http_port, grpc_port):
        wait_for_port(port)
    say(http=f"http://127.0.0.1:{http_port}", grpc=f"http://127.0.0.1:{grpc_port}")
    sys.stdin.read()
    agent.terminate()
    agent.wait()


def wait_for_port(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.1)
    sys.exit(f"nothing listens on port {port}")


def bugsink():
    folder, port = tempfile.mkdtemp(prefix="bugsink"), free_port()
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "bugsink_conf", "PYTHONPATH": folder}

    def run(*command, **options):
        return subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True, **options)

    run(PROGRAMS / "bugsink-create-conf", "--template=local", f"--port={port}", "--host=127.0.0.1", "-o", "bugsink_conf.py")
    with open(pathlib.Path(folder, "bugsink_conf.py"), "a") as conf:
        # On a loaded machine, five seconds are too few for a statement: Bugsink would respond with 500.
        conf.write("\nfor database in DATABASES.values():\n    database['OPTIONS'] |= {'timeout': 60, 'query_timeout': 60}\n")
    manage = str(PROGRAMS / "bugsink-manage")
    run(manage, "migrate")
    run(manage, "migrate", "--database=snappea")
    create = "from projects.models import Project; print('dsn', Project.objects.create(name='shop').dsn)"
    dsn = run(manage, "shell", "-c", create).stdout.split("dsn ", 1)[1].strip()
    command = [manage, "runserver", "--noreload", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=sys.stderr, stderr=sys.stderr, preexec_fn=ends_with_this_process)
    wait_for_port(port)
    say(dsn=dsn)
    show = (
        "import json; from issues.models import Issue; from events.models import Event; "
        "print('issues', json.dumps([{'title': issue.title(), 'transaction': issue.transaction, "
        "'events': issue.stored_event_count, 'data': [event.get_parsed_data() for event in issue.event_set.all()]} "
        "for issue in Issue.objects.all()], default=str))"
    )

    def stored_events():
        database = sqlite3.connect(pathlib.Path(folder, "db.sqlite3"), timeout=60)
        try:
            return database.execute("select count(*) from events_event").fetchone()[0]
        finally:
            database.close()

    for line in sys.stdin:
        expected = int(line.split()[1])
        for _ in range(360):
            if stored_events() >= expected:
                break
            threading.Event().wait(0.5)
        issues = run(manage, "shell", "-c", show).stdout.split("issues ", 1)[1]
        say(issues=json.loads(issues))
    server.terminate()
    server.wait()


{"otlp": otlp, "rotel": rotel, "bugsink": bugsink}[sys.argv[1]]()
