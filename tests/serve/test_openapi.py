"""The description in OpenAPI against the service, with requests that nobody would think of."""

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

TOKEN = {"Authorization": "Bearer a-token-long-enough-0123"}


@pytest.fixture(scope="module")
def described():
    from hv_utils.serve.limits import Limits
    from hv_utils.serve.service import create_app
    from hv_utils.serve.works import Model

    token = TOKEN["Authorization"].split()[1]
    app = create_app(Model.open(), limits=Limits(megabytes=1, seconds=5), token=token)
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=TOKEN)


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@hypothesis.settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_a_described_one(case):
    case.call_and_validate(headers=TOKEN)
