"""Settings of a service: its processes, its limits, what it keeps. They change nothing that is learned."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everlearn.errors import ConfigError, ConfigFileError
from everlearn.log_lines import LogFormat
from everlearn.settings.section import problems_of

__all__ = ["ServiceConfig"]

_PREFIX = "EVERLEARN_SERVICE_"


class ServiceConfig(BaseModel):
    """All settings of a service: options, the environment (``EVERLEARN_SERVICE_PORT``), or a file.

    >>> ServiceConfig.given({"port": 9000}, environment={"EVERLEARN_SERVICE_WORKERS": "1"}).workers
    1
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on. One that others reach needs keys (everlearn keys add)."""
    port: int = Field(8600, ge=0, le=65_535)
    """Port to listen on; 0: a free one."""
    workers: int | None = Field(None, ge=1, le=256)
    """Prediction processes, one thread each. Default: one a processor."""
    learner_threads: int | None = Field(None, ge=1, le=1_024)
    """Threads of the process that learns. Default: half of the processors."""
    memory_budget_mb: float | None = Field(None, gt=0)
    """Memory for what tenants predict by, in each process, in 10⁶ bytes. Default: no bound."""

    publish_share: float = Field(0.2, gt=0, le=1)
    """A label changes the next prediction. Where labels stream in, making each step known would cost time
    (more, the more is learned): so much of it at most; steps in between become known with the next."""
    max_batch: int = Field(32, ge=1, le=4_096)
    """Most texts that a prediction process is given at once."""
    max_waiting_texts: int = Field(2_048, ge=1)
    """Texts that may wait for a prediction process; more are refused (429)."""
    max_waiting_labels: int = Field(4_096, ge=1)
    """Examples that may wait to be learned; more are refused (429)."""
    timeout_seconds: float = Field(30.0, gt=0)
    """Longest wait for a prediction; what takes longer is answered by an error (503)."""

    max_body_mb: float = Field(4.0, gt=0)
    """Largest body of a request, in 10⁶ bytes; uploads of files have their own bound."""
    max_texts: int = Field(256, ge=1)
    """Most texts or examples of one request."""
    max_text_chars: int = Field(100_000, ge=1)
    """Longest text, in characters."""
    max_upload_mb: float = Field(1_000.0, gt=0)
    """Largest file that is uploaded to be learned, in 10⁶ bytes."""
    max_jobs_mb: float = Field(10_000.0, gt=0)
    """Files that wait to be learned, all together, in 10⁶ bytes; more are refused (429)."""
    request_seconds: float = Field(30.0, gt=0, le=3_600)
    """Time for a request to arrive, head or body (of a file: each 16 kB); slower ones are refused (408)."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Requests of one key (or address) a minute; more are refused (429). Default: no bound."""

    keep_predictions_days: float = Field(7.0, ge=0)
    """How long texts and answers are kept so that feedback can name them; 0: not at all."""
    max_kept_predictions: int = Field(1_000_000, ge=1)
    """Most of them; the oldest go first."""
    log_format: LogFormat = "text"
    """Lines of the log: text, or json."""
    access_log: bool = False
    """Write a line for each request."""
    log_texts: bool = False
    """Write texts to the log, too (for finding errors; never by default)."""

    @classmethod
    def given(
        cls,
        options: Mapping[str, Any],
        *,
        file: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Settings from all places: options come first, then the environment, then the file.

        Args:
            options: By name; those that are None are not given.
            file: YAML.
            environment: Default: the process's.

        Raises:
            ConfigError: A setting is wrong or unknown; the message names the place.
        """
        known = os.environ if environment is None else environment
        variables = {
            name.removeprefix(_PREFIX).lower(): value
            for name, value in known.items()
            if name.startswith(_PREFIX)
        }
        options = {name: value for name, value in options.items() if value is not None}
        from_file = {} if file is None else _read(file)
        # Each place by itself first: a message names where a setting is wrong.
        if file is not None:
            cls._checked(from_file, str(file))
        cls._checked(variables, "environment", prefix=_PREFIX)
        return cls._checked({**from_file, **variables, **options}, "settings")

    @classmethod
    def _checked(cls, values: Mapping[str, Any], place: str, prefix: str = "") -> Self:
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = "; ".join(problems_of(error, cls.model_fields))
            where = f"{place} ({prefix}…)" if prefix else place
            raise ConfigError(f"{where}: {problems}") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigFileError(f"{file}: cannot read the settings: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigFileError(f"{file}: expected settings by name, found {type(values).__name__}")
    return values
