"""The one transport for everything that is fetched over HTTP: bounded, resumed, and shy with credentials."""

from bundler.transport.request import Authorizer, Request, Response, Sink, TransportConfig
from bundler.transport.transport import Transport
from bundler.transport.upstreams import Upstreams
from bundler.transport.urls import origin_of, redact

__all__ = [
    "Authorizer",
    "Request",
    "Response",
    "Sink",
    "Transport",
    "TransportConfig",
    "Upstreams",
    "origin_of",
    "redact",
]
