"""Proves the pinned peers: all import, and an instrumented client and server share one trace."""

import socket
import threading

import confluent_kafka
import fastapi
import grpc
import httpx
import opentelemetry.instrumentation.confluent_kafka
import opentelemetry.instrumentation.grpc
import opentelemetry.instrumentation.pika
import pika
import uvicorn
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))

app = fastapi.FastAPI()
app.get("/items/{item}")(lambda item: {"item": item})
FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)


# A real connection: inside one process the server would see the client's span as active.
listener = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
serving.start()
try:
    with httpx.Client(timeout=30, trust_env=False) as http:
        HTTPXClientInstrumentor.instrument_client(http, tracer_provider=provider)
        response = http.get(f"http://127.0.0.1:{listener.getsockname()[1]}/items/7")
finally:
    server.should_exit = True
    serving.join()
assert response.status_code == 200, response.status_code

by_kind = {span.kind: span for span in spans.get_finished_spans() if span.kind is not SpanKind.INTERNAL}
sent, served = by_kind[SpanKind.CLIENT], by_kind[SpanKind.SERVER]
assert served.context.trace_id == sent.context.trace_id, "the trace was not carried on"
assert served.parent.span_id == sent.context.span_id, "the server's parent is not the client"
assert served.attributes["http.route"] == "/items/{item}", served.attributes

for module in (confluent_kafka, fastapi, grpc, httpx, pika, uvicorn):
    print(module.__name__, getattr(module, "__version__", ""))
print("httpx -> fastapi: one trace, parented")
