"""What all bodies of requests have in common."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Types are strict ("10" is no number, true is no integer); other names stay in model_extra."""

    model_config = ConfigDict(strict=True, extra="allow")
