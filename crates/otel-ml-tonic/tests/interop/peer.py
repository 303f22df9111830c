"""A gRPC client and server in Python with OpenTelemetry's own instrumentation.

    peer.py serve SPANS          prints its port, and serves until its input is closed
    peer.py call SPANS ADDRESS METHOD

Spans are written to the file SPANS, as a line of JSON each. The server answers every message
with the traceparent it was sent; a message "fail" is answered by NOT_FOUND.
"""

import sys
import threading
from concurrent import futures

import grpc
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient, server_interceptor
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.trace import SpanKind


class Called(SpanProcessor):
    """Set once a call's span has ended: of a stream it does in another thread."""

    def __init__(self):
        self.event = threading.Event()

    def on_end(self, span):
        if span.kind is SpanKind.CLIENT:
            self.event.set()


def provider(path):
    out = open(path, "w", encoding="utf-8")
    formatter = lambda span: span.to_json(indent=None) + "\n"
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=formatter)))
    return provider


def encode(text):
    """A google.protobuf.StringValue."""
    data = text.encode()
    assert len(data) < 128
    return bytes([10, len(data)]) + data


def decode(message):
    return message[2:].decode()


def answer(message, context):
    if message == "fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "as it was asked to")
    return dict(context.invocation_metadata())["traceparent"]


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        one = lambda message, context: answer(message, context)
        last = lambda messages, context: answer(list(messages)[-1], context)

        def many(message, context):
            for _ in range(3):
                yield answer(message, context)

        def each(messages, context):
            for message in messages:
                yield answer(message, context)

        handlers = {
            "/test.Echo/Unary": (grpc.unary_unary_rpc_method_handler, one),
            "/test.Echo/ClientStream": (grpc.stream_unary_rpc_method_handler, last),
            "/test.Echo/ServerStream": (grpc.unary_stream_rpc_method_handler, many),
            "/test.Echo/Bidi": (grpc.stream_stream_rpc_method_handler, each),
        }
        make, behavior = handlers[details.method]
        return make(behavior, request_deserializer=decode, response_serializer=encode)


def serve(path):
    tracing = provider(path)
    interceptors = [server_interceptor(tracer_provider=tracing)]
    server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=interceptors)
    server.add_generic_rpc_handlers([Echo()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(grace=10).wait()
    tracing.shutdown()


def answers(channel, method):
    coding = {"request_serializer": encode, "response_deserializer": decode}
    target = "/test.Echo/" + method
    if method == "Unary":
        return [channel.unary_unary(target, **coding)("a", timeout=20)]
    if method == "ClientStream":
        return [channel.stream_unary(target, **coding)(iter("abc"), timeout=20)]
    if method == "ServerStream":
        return list(channel.unary_stream(target, **coding)("a", timeout=20))
    return list(channel.stream_stream(target, **coding)(iter("abc"), timeout=20))


def call(path, address, method):
    tracing = provider(path)
    called = Called()
    tracing.add_span_processor(called)
    # The client's instrumentation takes the global one, whatever it is given.
    trace.set_tracer_provider(tracing)
    GrpcInstrumentorClient().instrument()
    try:
        with grpc.insecure_channel(address) as channel:
            with tracing.get_tracer("peer").start_as_current_span("python"):
                print(answers(channel, method)[-1], flush=True)
    finally:
        assert called.event.wait(20), "the call's span has not ended"
        tracing.shutdown()


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
