"""The accounts that the users of the load share: each has a team, an access token and an API key."""

from dataclasses import dataclass

from settings import HOSTS

PASSWORD = "correct horse battery staple 42"
PUBLIC = "/api/v1/public/auth"


@dataclass
class Account:
    """A registered user."""

    email: str
    token: str
    api_key: str


ACCOUNTS = []


def address(number):
    """Returns the address of a client. The app trusts its proxy, which is the load, so each user has its own limits."""
    return f"10.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"


def create_accounts(session, count):
    """Registers accounts, signs them in, and creates an API key for each. Raises an error that says what failed."""

    def send(path, body, expected, number, token=None):
        headers = {"X-Forwarded-For": address(number)}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        host = HOSTS[number % len(HOSTS)]
        response = session.post(host + path, json=body, headers=headers, timeout=30)
        if response.status_code != expected:
            raise RuntimeError(f"POST {path}: {response.status_code} in place of {expected}: {response.text}")
        return response.json()

    for number in range(count):
        email = f"load{number}@example.com"
        send(f"{PUBLIC}/register", {"email": email, "password": PASSWORD}, 202, number)
        token = send(f"{PUBLIC}/login", {"email": email, "password": PASSWORD}, 200, number)["access_token"]
        key = send("/api/v1/app/api-keys", {"name": "Load", "scopes": ["*"]}, 201, number, token)
        ACCOUNTS.append(Account(email, token, key["secret"]))
