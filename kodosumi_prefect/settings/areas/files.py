"""Where files are, how much of them there may be, and how long they are kept."""

import json
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from kodosumi_prefect.settings.values import MEBIBYTE

GIBIBYTE = 1024 * MEBIBYTE
STORAGE_SCHEMES = ("file", "s3", "gs", "az")


class FileFields(BaseModel):
    """Where files are, how much of them there may be, and how long they are kept."""

    file_storage_url: str | None = Field(
        default=None,
        description=(
            "Where the contents of files are: `file:///folder`, `s3://bucket/prefix`, `gs://…` or "
            "`az://…`. The same for panel, services and workers; what cannot reach it goes through "
            "the panel. Unset, the folder `files` in data_dir."
        ),
    )
    file_storage_options: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default_factory=dict,
        description=(
            "Options of a bucket as a JSON object of texts, such as `endpoint`, `region`, "
            "`access_key_id`, `secret_access_key`, `allow_http`. What is missing is taken from the "
            "environment, as the cloud's own tools do."
        ),
    )
    file_bytes: int = Field(default=5 * GIBIBYTE, description="Most bytes of one file.", ge=1)
    execution_files: int = Field(
        default=20_000, description="Most files of one execution, in and out.", ge=1
    )
    execution_file_bytes: int = Field(
        default=50 * GIBIBYTE, description="Most bytes of all files of one execution.", ge=1
    )
    owner_file_bytes: int | None = Field(
        default=None,
        description=(
            "Most bytes of all files of one account's executions and uploads, counted when one is "
            "sent or left. Unset, there is no such limit."
        ),
        ge=1,
    )
    upload_hours: float = Field(
        default=24.0,
        description=(
            "Hours after which what was uploaded and never launched with is deleted, counted from "
            "its last chunk."
        ),
        gt=0,
    )
    file_retention_days: float | None = Field(
        default=None,
        description=(
            "Days after its end for which an execution's files are kept; set it lower than "
            "retention_days to keep the record longer. Unset, they are kept as long as it."
        ),
        gt=0,
    )
    file_scan: str | None = Field(
        default=None,
        description=(
            "`module:function` that looks at each uploaded file before anybody can read it. It is "
            "called with a `kodosumi_prefect.files.scan.UploadedFile`, and refuses the file by "
            "raising `FileRefusedError` with a reason for people."
        ),
    )

    @field_validator("file_storage_url")
    @classmethod
    def _a_storage(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in STORAGE_SCHEMES:
            schemes = ", ".join(f"{scheme}://" for scheme in STORAGE_SCHEMES)
            raise ValueError(f"file_storage_url begins with none of {schemes}")
        return value

    @field_validator("file_storage_options", mode="before")
    @classmethod
    def _an_object(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            options = json.loads(value) if value.strip() else {}
        except ValueError:
            raise ValueError("file_storage_options is no JSON object of texts") from None
        if not isinstance(options, dict):
            raise ValueError("file_storage_options is no JSON object of texts")
        return {name: str(option) for name, option in options.items()}
