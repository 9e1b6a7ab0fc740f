"""What xtask has told the load."""

import os

# `smoke`, `spike` or `soak`.
PROFILE = os.environ["LOAD_PROFILE"]
# The addresses of the app's processes, such as `http://127.0.0.1:8080`.
HOSTS = os.environ["LOAD_HOSTS"].split(",")
# The length of the load.
SECONDS = float(os.environ["LOAD_SECONDS"])
# Requests a minute, without a spike.
RATE = float(os.environ["LOAD_RATE"])
# An access token of an operator.
OPERATOR_TOKEN = os.environ["LOAD_OPERATOR_TOKEN"]
# The secret of the webhooks.
WEBHOOK_SECRET = os.environ["LOAD_WEBHOOK_SECRET"]
# The file of the results.
RESULTS_FILE = os.environ["LOAD_RESULTS"]

# Requests a second of one user.
PACE = 2
# Users of a normal load. They are a tenth more than the rate needs, because a user that arrives late, or waits for a
# response, sends less.
USERS = max(12, round(RATE * 1.1 / 60 / PACE))
# Users at most.
PEAK_USERS = USERS * 10 if PROFILE == "spike" else USERS
