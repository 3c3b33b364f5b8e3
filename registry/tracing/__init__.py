"""Traces of requests and deliveries for OpenTelemetry; loaded only when an endpoint is set."""
