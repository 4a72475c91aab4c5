"""Where the panel listens and is reached."""

from pydantic import BaseModel, Field


class PanelFields(BaseModel):
    """Where the panel listens and is reached."""

    host: str = Field(
        default="127.0.0.1",
        description=(
            "Address the panel listens on; 0.0.0.0 for all. Where others can reach it, put a "
            "reverse proxy with https before it."
        ),
    )
    port: int = Field(default=3370, description="Port the panel listens on.", ge=0, le=65535)
    panel_url: str | None = Field(
        default=None,
        description=(
            "Where people reach the panel, for links. Unset, the address that `up` wrote down."
        ),
    )
