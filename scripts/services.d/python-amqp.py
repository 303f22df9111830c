"""A peer for the AMQP tests: pika with OpenTelemetry's instrumentation.

    python-amqp.py send URL QUEUE        sends one message, inside a span named 'around'
    python-amqp.py receive URL QUEUE     receives the queue's first message

It prints what came of it as one line of JSON: the message's headers and the spans.
"""

import json
import sys

import pika
from opentelemetry.instrumentation.pika import PikaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

mode, url, queue = sys.argv[1:]
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = provider.get_tracer("python-amqp")
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
PikaInstrumentor.instrument_channel(channel, tracer_provider=provider)
headers = []
flags = None

if mode == "send":
    channel.confirm_delivery()
    with tracer.start_as_current_span("around"):
        properties = pika.BasicProperties(headers={"app": "kept"}, message_id="python-1")
        channel.basic_publish("", queue, b"from Python", properties, mandatory=True)
else:

    def receive(channel, method, properties, body):
        headers.extend([name, value] for name, value in sorted(properties.headers.items()))
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_consume(queue, receive)
    connection.call_later(30, lambda: sys.exit("no message"))
    channel.start_consuming()
connection.close()


def one(context):
    return {
        "trace": f"{context.trace_id:032x}",
        "span": f"{context.span_id:016x}",
        "flags": f"{context.trace_flags:02x}",
    }


def told(span):
    return {
        "name": span.name,
        "kind": span.kind.name,
        **one(span.context),
        "parent": f"{span.parent.span_id:016x}" if span.parent else None,
        "links": [one(link.context) for link in span.links],
        "error": not span.status.is_ok,
    }


print(json.dumps({"headers": headers, "spans": [told(span) for span in spans.get_finished_spans()]}))
