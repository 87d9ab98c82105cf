"""Hot swaps: a new bundle is opened beside the live one, warmed, and takes over in one step.

    path changes or POST /v1/admin/reload -> open -> warm -> catch up -> swap; the one before is kept for a rollback

A request leases the service that is live when it arrives and keeps it until it is answered. A service is closed once
it is neither live nor kept and its last lease has ended. Writes that a request makes through a service that was
replaced meanwhile are in the store, and the live service catches up with the store before the request is answered.
"""

import gc
import json
import logging
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from medley.errors import InputError, MedleyError
from medley.serving.http.errors import ApiError
from medley.serving.requests import RecommendRequest

if TYPE_CHECKING:
    from medley.serving.service import Service

Result = Literal["loaded", "swapped", "unchanged", "refused", "rolled_back"]
NUM_WARM = 8  # lists that a new service makes before it takes over

log = logging.getLogger("medley.serving.http")


class Lease:
    """One service and the number of requests that use it."""

    def __init__(self, service: "Service"):
        self.service = service
        self.num_users = 0


class Swap(NamedTuple):
    """What a reload or a rollback did."""

    result: Result
    model_version: str
    previous: str | None  # version that a rollback would bring back
    seconds: float


class Holder:
    """Holds the live service and the one before it."""

    def __init__(self, path: Path, open_service: Callable[[], "Service"]):
        self.path, self._open = path, open_service
        self._lock = threading.Lock()  # of the fields below; held for moments only
        self._changing = threading.Lock()  # one reload or rollback at a time
        self._live: Lease | None = None
        self._previous: Lease | None = None
        self._retired: list[Lease] = []  # replaced twice, but still in use
        self._closed_counters: Counter[str] = Counter()
        self._stop = threading.Event()
        self._stamp: tuple[int, ...] | None = None
        self.results: Counter[str] = Counter()

    def acquire(self) -> Lease | None:
        """Leases the live service; None before the first is loaded. Every lease must be released."""
        with self._lock:
            if self._live is not None:
                self._live.num_users += 1
            return self._live

    def release(self, lease: Lease) -> None:
        """Ends a lease."""
        with self._lock:
            lease.num_users -= 1
            ended = lease.num_users == 0 and lease in self._retired
            if ended:
                self._retired.remove(lease)
            is_late = lease.num_users == 0 and lease is not self._live
        if ended:
            self._close(lease)
        if is_late:
            self.catch_up(lease)

    def catch_up(self, lease: Lease) -> None:
        """Brings the live service up to date with the store if a lease is not of the live service."""
        live = self.acquire() if lease is not self._live else None
        if live is not None:
            try:
                live.service.catch_up()
            finally:
                self.release(live)

    def load(self) -> Swap:
        """Opens the first service.

        Raises:
            MedleyError: the bundle cannot be served.
        """
        began = time.perf_counter()
        with self._changing:
            self._stamp = self._look()
            service = self._opened()
            with self._lock:
                self._live = Lease(service)
            return self._done("loaded", began)

    def reload(self) -> Swap:
        """Opens the bundle that is at the path now, and swaps.

        Raises:
            ApiError: a reload is running (409); the bundle is refused (422), and the live one stays.
        """
        began = time.perf_counter()
        if not self._changing.acquire(blocking=False):
            raise ApiError(409, "reload_running", "another reload is running", remedy="wait until it has ended")
        try:
            if self._live is None:
                raise ApiError(409, "not_ready", "the first bundle is still loading", remedy="wait until it is ready")
            self._stamp = self._look()
            if version_at(self.path) == self._live.service.model_version:
                return self._done("unchanged", began)
            old = self._previous
            try:
                self._take_over(Lease(self._opened()))
            except Exception as error:  # a bad bundle may fail in any way, and none may end the live service
                self.results["refused"] += 1
                log.error("bundle refused, the live one stays: %s", error, exc_info=not isinstance(error, MedleyError))
                raise _refused(error) from error
            if old is not None:
                self._retire(old)
            return self._done("swapped", began)
        finally:
            self._changing.release()

    def rollback(self) -> Swap:
        """Brings back the service before the live one, which is kept in its place.

        Raises:
            ApiError: a reload is running, or there is nothing to go back to (409).
            MedleyError: the store cannot be read; the live service stays.
        """
        began = time.perf_counter()
        if not self._changing.acquire(blocking=False):
            raise ApiError(409, "reload_running", "a reload is running", remedy="wait until it has ended")
        try:
            previous = self._previous
            if previous is None:
                raise ApiError(409, "no_previous", "no earlier bundle is kept", remedy="put the bundle back and reload")
            self._swap(previous)
            return self._done("rolled_back", began)
        finally:
            self._changing.release()

    def watch(self, seconds: float) -> threading.Thread:
        """Starts a thread that reloads whenever the file at the path has changed and stayed the same for one look."""

        def look() -> None:
            before = self._stamp
            while not self._stop.wait(seconds):
                now = self._look()
                is_settled, before = now == before, now
                if now is not None and is_settled and now != self._stamp:
                    try:
                        self.reload()
                    except ApiError as error:
                        log.warning("the changed bundle is not live: %s", error.body.message)
                    except Exception:  # whatever failed, the next change is seen
                        log.exception("looking for a changed bundle failed")

        thread = threading.Thread(target=look, name="medley-watch", daemon=True)
        thread.start()
        return thread

    def counters(self) -> Counter[str]:
        """Returns the counters of all services since the start."""
        with self._lock:
            services = [lease.service for lease in self._kept()]
            total = Counter(self._closed_counters)
        for service in services:
            total.update(service.counters)
        return total

    def close(self) -> None:
        """Closes all services; leases that are still out are cut off."""
        self._stop.set()
        with self._changing:
            with self._lock:
                kept = self._kept()
                self._live = self._previous = None
                self._retired = []
            for lease in kept:
                self._close(lease)

    def _kept(self) -> list[Lease]:
        return [lease for lease in (self._live, self._previous, *self._retired) if lease is not None]

    def _opened(self) -> "Service":
        service = self._open()
        try:
            warm(service)
        except BaseException:
            service.close()
            raise
        return service

    def _take_over(self, new: Lease) -> None:
        """Makes a new service live, and closes it where that fails."""
        try:
            self._swap(new)
        except BaseException:
            self._retire(new)
            raise

    def _swap(self, new: Lease) -> None:
        """Makes a service live and keeps the live one; one that cannot catch up with the store changes nothing."""
        new.service.catch_up()  # with writes since it was opened or replaced
        with self._lock:
            before = self._live, self._previous
            self._live, self._previous = new, self._live
        try:
            new.service.catch_up()  # with writes during the lines above, by requests that have ended before them
        except BaseException:
            with self._lock:
                self._live, self._previous = before
            if self._live is not None:
                self._live.service.catch_up()  # with writes through the new one
            raise

    def _retire(self, lease: Lease) -> None:
        """Closes a service that is neither live nor kept, as soon as nobody uses it."""
        with self._lock:
            in_use = lease.num_users > 0
            if in_use:
                self._retired.append(lease)
        if not in_use:
            self._close(lease)

    def _close(self, lease: Lease) -> None:
        with self._lock:
            self._closed_counters.update(lease.service.counters)
        lease.service.close()

    def _done(self, result: Result, began: float) -> Swap:
        self.results[result] += 1
        assert self._live is not None
        version, previous = self._live.service.model_version, self._previous
        before = None if previous is None else previous.service.model_version
        swap = Swap(result, version, before, time.perf_counter() - began)
        log.info("bundle %s in %.2f s: model_version=%s", result.replace("_", " "), swap.seconds, version[:12])
        if result in ("loaded", "swapped"):
            gc.unfreeze()  # what was replaced goes
            gc.collect()
            gc.freeze()  # the tables of ids hold many objects; looking through them pauses all requests
        return swap

    def _look(self) -> tuple[int, ...] | None:
        """Returns what changes when the bundle does; None while it is absent."""
        path = self.path / "manifest.json" if self.path.is_dir() else self.path
        try:
            state = path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino


def warm(service: "Service") -> None:
    """Asks a new service a few questions, which fills caches and shows whether it can answer at all."""
    users = service.users("", k=NUM_WARM)
    items = [item.id for item in service.items("", k=NUM_WARM).items]
    questions = [RecommendRequest(user=user) for user in users]
    questions += [RecommendRequest(history=[item], explain=True) for item in items]
    for question in questions:
        service.recommend(question)


def version_at(path: Path) -> str | None:
    """Returns the model version that the manifest of a bundle states, without reading more; None if it cannot."""
    try:
        if path.is_dir():
            text = (path / "manifest.json").read_bytes()
        else:
            with zipfile.ZipFile(path) as archive:
                text = archive.read("manifest.json")
        return json.loads(text)["model_version"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, NotImplementedError):
        return None


def _refused(error: Exception) -> ApiError:
    if isinstance(error, InputError):
        message = str(InputError(error.what, expected=error.expected, got=error.got))
        return ApiError(422, "bundle_refused", f"the bundle is refused: {message}", remedy=error.remedy)
    return ApiError(
        422, "bundle_refused", "the bundle is refused: it cannot be served", remedy="see the log of the server"
    )
