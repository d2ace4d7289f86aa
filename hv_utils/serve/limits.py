"""What one request may ask for, and how it is told that it asked for more."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hv_utils.ground.errors import HematoVisionError

RETRY_AFTER = 2  # seconds, in which a full queue has moved on
HUNG_UP = 499  # nobody reads it; for the log, as other servers have it


class Refusal(HematoVisionError):
    """A request that is not served; the message is one line.

    Parameters
    ----------
    status : int
        Of HTTP, 400 to 503; with 503 the sender is asked to come again.
    message : str
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What the service takes.

    Attributes
    ----------
    files : int
        Pictures of one request.
    megabytes : float
        Of one request.
    megapixels : float
        Of one picture.
    queue : int
        Pictures of all requests that wait or are at work.
    seconds : float
        To send a request, and once more to have the answer.
    connections : int
        Open at once.

    Raises
    ------
    HematoVisionError
        Where one is not above 0, or the queue does not hold the pictures of one request.
    """

    files: int = 100
    megabytes: float = 64
    megapixels: float = 40
    queue: int = 256
    seconds: float = 30
    connections: int = 512

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not 0 < getattr(self, limit.name) < float("inf"):
                raise HematoVisionError(
                    f"expected a limit above 0, but {limit.name} is "
                    f"{getattr(self, limit.name):g}: name another"
                )
        if self.queue < self.files:
            raise HematoVisionError(
                f"expected a queue that holds the pictures of one request, but it holds "
                f"{self.queue} and a request {self.files}: lengthen --queue or lower --max-files"
            )

    @property
    def bytes(self) -> int:
        """Of one request."""
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Of one picture."""
        return int(self.megapixels * 1e6)
