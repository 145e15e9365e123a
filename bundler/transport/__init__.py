"""The one transport for everything that goes over HTTP: bounded, resumed, and shy with credentials."""

from bundler.transport.attempts import Attempts
from bundler.transport.request import (
    Authorizer,
    BytesSink,
    Outgoing,
    PartSink,
    Request,
    Response,
    Sink,
    TransportConfig,
)
from bundler.transport.transport import Transport
from bundler.transport.upstreams import Upstreams
from bundler.transport.urls import follow, origin_of, redact
from bundler.transport.version import Changed, NoRanges, Version

__all__ = [
    "Attempts",
    "Authorizer",
    "BytesSink",
    "Changed",
    "NoRanges",
    "Outgoing",
    "PartSink",
    "Request",
    "Response",
    "Sink",
    "Transport",
    "TransportConfig",
    "Upstreams",
    "Version",
    "follow",
    "origin_of",
    "redact",
]
