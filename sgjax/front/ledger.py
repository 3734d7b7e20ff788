"""Who is under way: how many samples, and which of them go by which name."""

from collections.abc import Sequence

from sgjax.errors import InvalidRequest, QueueFull


class Ledger:
    """Counts the samples that were started and have not ended, up to `limit`."""

    def __init__(self, limit: int):
        self._limit = limit
        self._count = 0
        self._samples: dict[str, list[str]] = {}

    @property
    def count(self) -> int:
        return self._count

    def take(self, count: int) -> None:
        """Makes room for so many, before anything is spent on them. Raises what `check` does."""
        self.check(count)
        self._count += count

    def check(self, count: int) -> None:
        """Whether there is room for so many more.

        Raises:
            InvalidRequest: there will never be so much room.
            QueueFull: there is not now.
        """
        if count > self._limit:
            raise InvalidRequest(
                f"The request wants {count} outputs, but this server takes at most {self._limit} "
                "at a time. Send it in parts."
            )
        if self._count + count > self._limit:
            raise QueueFull(
                f"{self._count} requests are under way, and this server takes at most "
                f"{self._limit}. Try again in a second, or serve with a larger "
                "--max-queued-requests."
            )

    def give(self, count: int) -> None:
        self._count -= count

    def enter(self, names: Sequence[tuple[str, str]]) -> None:
        """Files samples under names: (name, sample) each.

        Raises:
            InvalidRequest: a name is in use by others; nothing is entered.
        """
        for rid, _ in names:
            if rid in self._samples:
                raise InvalidRequest(
                    f"A request with rid {rid!r} is under way already.", param="rid"
                )
        for rid, sample in names:
            self._samples.setdefault(rid, []).append(sample)

    def leave(self, rids: set[str]) -> None:
        for rid in rids:
            del self._samples[rid]

    def samples_of(self, rid: str) -> list[str]:
        """The samples of that name; none if it is not under way."""
        return list(self._samples.get(rid, ()))
