"""Images and videos of programs, as bytes."""

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgjax.errors import InvalidProgram
from sgjax.lang.expressions import Media

if TYPE_CHECKING:
    from sgjax.lang.transcript import Attachment

_SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


def read_media(media: Media) -> bytes:
    """Reads a file; a PIL image becomes a PNG.

    Raises:
        InvalidProgram: the file cannot be read.
    """
    source = media.source
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise InvalidProgram(
                f"The {media.kind} {source!s:.200} cannot be read: {error}"
            ) from None
    out = io.BytesIO()
    source.save(out, format="PNG")
    return out.getvalue()


def image_part(attachment: "Attachment") -> dict[str, Any]:
    """As a part of a message in OpenAI's form."""
    kind = next((k for begin, k in _SIGNATURES.items() if attachment.data.startswith(begin)), "png")
    data = base64.b64encode(attachment.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}
