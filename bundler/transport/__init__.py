"""The one transport for everything that is fetched over HTTP: bounded, resumed, and shy with credentials."""

from bundler.transport.request import Authorizer, BytesSink, PartSink, Request, Response, Sink, TransportConfig
from bundler.transport.transport import Transport
from bundler.transport.upstreams import Upstreams
from bundler.transport.urls import origin_of, redact
from bundler.transport.version import Changed, NoRanges, Version

__all__ = [
    "Authorizer",
    "BytesSink",
    "Changed",
    "NoRanges",
    "PartSink",
    "Request",
    "Response",
    "Sink",
    "Transport",
    "TransportConfig",
    "Upstreams",
    "Version",
    "origin_of",
    "redact",
]
