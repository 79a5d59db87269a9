"""The wall-clock of a run: what its interrupted parts took counts too, and the time between them does not."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nas.experiment.folder import RunFolder

_FILE = "clock.json"
_SECONDS_BETWEEN_WRITES = 5.0


class Clock:
    """Counts the seconds that a run has been at work; a killed one loses those since the last writing."""

    def __init__(self, folder: RunFolder) -> None:
        """Go on from what the folder holds."""
        self._folder = folder
        self._before = float((folder.read_json(_FILE) or {"seconds": 0.0})["seconds"])
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of work, until now."""
        return self._before + time.monotonic() - self._started

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write the time down now and then, and at the end of the block."""
        ended = threading.Event()

        def write_now_and_then() -> None:
            while not ended.wait(_SECONDS_BETWEEN_WRITES):
                try:
                    self._write()
                except OSError:
                    # A full disk is found, and told, by what has results to write.
                    continue

        thread = threading.Thread(target=write_now_and_then, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            # What ended the block is told, not that the disk is full as well.
            with suppress(OSError):
                self._write()
            raise
        finally:
            ended.set()
            thread.join()
        self._write()

    def _write(self) -> None:
        self._folder.write_json(_FILE, {"seconds": self.seconds})
