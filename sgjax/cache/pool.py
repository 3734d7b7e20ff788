"""Which pages of the cache are free."""

from collections.abc import Iterable


class PagePool:
    """The free pages, out of 0 .. num_pages - 1. The page that was given back last goes first."""

    def __init__(self, num_pages: int):
        self.num_pages = num_pages
        self._free = list(range(num_pages - 1, -1, -1))
        self._is_free = bytearray(b"\1") * num_pages

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def free_pages(self) -> list[int]:
        return list(self._free)

    def take(self, count: int) -> list[int]:
        """Takes `count` pages.

        Raises:
            ValueError: fewer are free (and none is taken).
        """
        if count > len(self._free):
            raise ValueError(f"{count} pages were asked for, but only {len(self._free)} are free")
        pages = [self._free.pop() for _ in range(count)]
        for page in pages:
            self._is_free[page] = 0
        return pages

    def give(self, pages: Iterable[int]) -> None:
        """Takes pages back.

        Raises:
            ValueError: a page is free already: it had two owners.
        """
        for page in pages:
            if self._is_free[page]:
                raise ValueError(f"page {page} was given back, but it is free already")
            self._is_free[page] = 1
            self._free.append(page)
