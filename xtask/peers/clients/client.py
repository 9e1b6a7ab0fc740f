"""What openapi-python-client makes of the API's description."""

import io
import os
from uuid import UUID

from generated import AuthenticatedClient, Client
from generated.api.auth import sign_in
from generated.api.files import download_file, list_files, upload_file
from generated.api.projects import create_project, get_project, list_projects
from generated.models import ApiError, FileUploadForm, NewProject, PageProject, PasswordSignIn, Project, StoredFile, TokenBody
from generated.types import File

url = os.environ["CLIENT_URL"]
signed_in = sign_in.sync(
    client=Client(base_url=url),
    body=PasswordSignIn(email=os.environ["CLIENT_EMAIL"], password=os.environ["CLIENT_PASSWORD"]),
)
assert isinstance(signed_in, TokenBody), signed_in
app = AuthenticatedClient(base_url=url, token=signed_in.access_token)

project = create_project.sync(
    client=app,
    body=NewProject(name="Made by openapi-python-client"),
    x_tenant_id=str(signed_in.tenant_id),
    idempotency_key="openapi-python-client-1",
)
assert isinstance(project, Project), project
assert project.description is None

# Every default of the description is sent.
page = list_projects.sync(client=app)
assert isinstance(page, PageProject), page
assert any(item.id == project.id for item in page.items)
page = list_projects.sync(client=app, name=["Made by openapi-python-client", "No such name"], created_at_gte=project.created_at)
assert isinstance(page, PageProject) and len(page.items) == 1, page

content = b"A text file, sent as a form.\n"
for body, name in [
    (FileUploadForm(file=File(io.BytesIO(content), "form.txt", "text/plain")), "form.txt"),
    (File(io.BytesIO(content), mime_type="application/octet-stream"), "bytes.txt"),
]:
    file = upload_file.sync(client=app, body=body, name=name)
    assert isinstance(file, StoredFile) and file.name == name, file
    downloaded = download_file.sync(client=app, id=file.id)
    assert isinstance(downloaded, File) and downloaded.payload.read() == content, downloaded
list_files.sync(client=app)

missing = get_project.sync(client=app, id=UUID("0191d9c0-0000-7000-8000-000000000001"))
assert isinstance(missing, ApiError) and missing.error.code == "NOT_FOUND", missing
print("openapi-python-client: every call was answered as described")
