"""The load of `cargo xtask load`, for Locust: accounts for the users, and how many users there are at which time.

The environment variables LOAD_* are set by xtask/src/load.rs."""

import os
import sys

import requests
from accounts import create_accounts
from locust import LoadTestShape, events
from settings import PEAK_USERS, PROFILE, SECONDS, USERS
from users import RESULTS, AdminUser, ApiKeyUser, BrowserUser, RealtimeUser, UploadUser, WebhookUser

__all__ = ["AdminUser", "ApiKeyUser", "BrowserUser", "RealtimeUser", "Shape", "UploadUser", "WebhookUser"]

# The spike as shares of the time: the load is normal, grows to ten times as much, stays, returns, and is normal again.
# xtask/src/load/verdict.rs knows the same shares.
CALM, GROWN, FALLING, CALM_AGAIN = 0.25, 0.35, 0.55, 0.65
# Seconds in which the users of a normal load arrive.
ARRIVAL = 10


@events.test_start.add_listener
def prepare(**_):
    """Creates the accounts before the first user arrives, so that this counts in no result."""
    try:
        with requests.Session() as session:
            create_accounts(session, max(10, PEAK_USERS // 10))
    except Exception as error:
        print(f"the accounts of the load can't be created: {error}", file=sys.stderr, flush=True)
        # Locust would log an exception, and go on.
        os._exit(3)
    RESULTS.start()


@events.user_error.add_listener
def record(user_instance, exception, **_):
    """Counts an error of a task, such as a response of another form, as a failed request."""
    RESULTS.add(user_instance.kind, 0, f"{exception!r}"[:300])


@events.test_stop.add_listener
def write_the_rest(**_):
    RESULTS.write(round(RESULTS.passed()))


class Shape(LoadTestShape):
    """The number of users at each time."""

    def tick(self):
        passed = RESULTS.passed()
        if passed >= SECONDS:
            return None
        if PROFILE != "spike":
            return USERS, max(1, USERS / ARRIVAL)
        # Locust reaches a number of users by its rate, so the ramps are rates.
        share = passed / SECONDS
        if share < CALM:
            return USERS, max(1, USERS / ARRIVAL)
        if share < FALLING:
            return PEAK_USERS, max(1, (PEAK_USERS - USERS) / ((GROWN - CALM) * SECONDS))
        return USERS, max(1, (PEAK_USERS - USERS) / ((CALM_AGAIN - FALLING) * SECONDS))
