"""The operator's environment: read once, and refused with the variable's name."""

from __future__ import annotations

import pytest

from selm_operator.settings import SettingsError, Waits, read_settings


def test_everything_has_a_default() -> None:
    settings = read_settings({})
    assert settings.runtime_image is None
    assert not settings.shared_paths
    assert settings.waits == Waits()
    assert settings.namespaces == ()
    assert (settings.http_port, settings.time_scale) == (8080, 1.0)


def test_what_is_set_is_obeyed() -> None:
    settings = read_settings(
        {
            "SELM_RUNTIME_IMAGE": "runtime:1",
            "SELM_SHARED_PATHS": "true",
            "SELM_PREPARATION_RESOURCES": '{"requests": {"cpu": "500m", "memory": "1Gi"}}',
            "SELM_NAMESPACES": "a, b",
            "SELM_NAMESPACE": "selm-system",
            "SELM_WORKERS": "3",
            "SELM_LOG_FORMAT": "json",
            "SELM_HTTP_PORT": "9090",
        }
    )
    assert settings.runtime_image == "runtime:1"
    assert settings.shared_paths
    assert settings.preparation_resources == {"requests": {"cpu": "500m", "memory": "1Gi"}}
    assert settings.namespaces == ("a", "b")
    assert settings.http_port == 9090
    assert (settings.namespace, settings.workers, settings.log_format) == ("selm-system", 3, "json")


def test_one_factor_scales_every_wait_but_the_time_outs_of_requests() -> None:
    waits = read_settings({"SELM_TIME_SCALE": "0.1"}).waits
    assert waits.backoff_first == pytest.approx(1.0)
    assert waits.backoff_max == pytest.approx(60.0)
    assert waits.deletion_margin == pytest.approx(6.0)
    assert waits.request == Waits().request
    assert waits.lease_duration == pytest.approx(3.0)


WRONG = {
    "SELM_SHARED_PATHS": "yes",
    "SELM_TIME_SCALE": "0",
    "SELM_WORKERS": "none",
    "SELM_HTTP_PORT": "-1",
    "SELM_LOG_FORMAT": "xml",
    "SELM_PREPARATION_RESOURCES": '{"requests": {"cpu": "much"}}',
}


@pytest.mark.parametrize(("name", "value"), WRONG.items(), ids=WRONG.keys())
def test_a_wrong_value_is_refused_with_its_name_and_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        read_settings({name: value})
    assert "allowed" in str(refused.value)
