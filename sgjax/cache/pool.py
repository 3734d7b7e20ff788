"""Which pages of the cache are free."""

from array import array

import numpy as np

_NOWHERE = -1


class PagePool:
    """The free pages, out of 0 .. num_pages - 1. The page that was given back last goes first.

    Pages are arrays of int32 (`array("i")`).
    """

    def __init__(self, num_pages: int):
        self.num_pages = num_pages
        self._free = array("i", range(num_pages - 1, -1, -1))
        # Where each page lies in `_free`: a page that lies somewhere cannot be given again.
        self._places = np.arange(num_pages - 1, -1, -1, dtype=np.int32)

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def free_pages(self) -> array:
        return self._free[:]

    def take(self, count: int) -> array:
        """Takes `count` pages.

        Raises:
            ValueError: fewer are free (and none is taken).
        """
        left = len(self._free) - count
        if left < 0:
            raise ValueError(f"{count} pages were asked for, but only {len(self._free)} are free")
        pages = self._free[left:]
        del self._free[left:]
        pages.reverse()
        self._places[np.frombuffer(pages, np.int32)] = _NOWHERE
        return pages

    def give(self, pages: array) -> None:
        """Takes pages back.

        Raises:
            ValueError: a page is free already, or comes twice: it had two owners.
        """
        given = np.frombuffer(pages, np.int32)
        places = np.arange(len(self._free), len(self._free) + len(given), dtype=np.int32)
        was_free = self._places[given] != _NOWHERE
        if not was_free.any():
            self._places[given] = places
            was_free = self._places[given] != places
        if was_free.any():
            page = given[was_free.argmax()]
            raise ValueError(f"page {page} was given back, but it is free already")
        self._free += pages
