"""The description in OpenAPI against the service, with requests that nobody would think of."""

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, settings

from hv_utils.serve.limits import Limits
from hv_utils.serve.service import create_app
from hv_utils.serve.works import Model

TOKEN = "a-token-long-enough-0123"


@pytest.fixture(scope="module")
def described():
    model = Model.open()
    app = create_app(model, limits=Limits(megabytes=1, seconds=5), token=TOKEN)
    return schemathesis.openapi.from_asgi(
        "/openapi.json", app, headers={"Authorization": f"Bearer {TOKEN}"}
    )


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_a_described_one(case):
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})
