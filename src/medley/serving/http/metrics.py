"""Measures of a server in the format of Prometheus, in a registry of its own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from medley.serving.http.reload import Holder

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds


class Metrics:
    """Measures requests, and reads the rest from the services when it is asked."""

    def __init__(self, holder: "Holder"):
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "medley_request_seconds",
            "Seconds from the first byte of a request to the last of its answer",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("medley_requests_in_flight", "Requests being answered", registry=self.registry)
        self.refused = Counter(
            "medley_refused_total", "Requests refused before they were read", ("code",), registry=self.registry
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}
        self.registry.register(_ServiceCollector(holder))
        ProcessCollector(registry=self.registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request."""
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(*map(str, key))
        child.observe(seconds)

    def page(self) -> bytes:
        """Returns all measures."""
        return generate_latest(self.registry)


class _ServiceCollector:
    """Reads counters and sizes of the live service."""

    def __init__(self, holder: "Holder"):
        self.holder = holder

    def collect(self) -> Iterator[Metric]:
        counters = self.holder.counters()
        events = CounterMetricFamily("medley_events", "Counters of the service, by event", labels=["event"])
        for event, count in sorted(counters.items()):
            events.add_metric([event], count)
        yield events
        reloads = CounterMetricFamily("medley_reloads", "Bundles loaded, swapped, refused, ...", labels=["result"])
        for result in ("loaded", "swapped", "unchanged", "refused", "rolled_back"):
            reloads.add_metric([result], self.holder.results[result])
        yield reloads
        lease = self.holder.acquire()
        yield GaugeMetricFamily("medley_ready", "1 if a bundle is served", value=int(lease is not None))
        if lease is None:
            return
        try:
            service = lease.service
            version = GaugeMetricFamily("medley_model", "1, with the version served", labels=["model_version"])
            version.add_metric([service.model_version], 1)
            yield version
            sizes = GaugeMetricFamily("medley_table_bytes", "Bytes in memory, by table", labels=["table"])
            for table, size in sorted(service.nbytes.items()):
                sizes.add_metric([table], size)
            yield sizes
        finally:
            self.holder.release(lease)


def known_method(method: str) -> str:
    """Returns a method as a label; a client may invent any number of methods, and each would be one more time series."""
    return method if method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS") else "other"
