"""Starts TensorZero's gateway from its Python package: tensorzero_gateway.py CONFIG. Prints its base URL, and ends with its
standard input."""

import sys

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, flush=True)
sys.stdin.read()
