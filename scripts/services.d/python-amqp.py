"""A peer for the AMQP tests: pika with OpenTelemetry's instrumentation.

    python-amqp.py send URL QUEUE        sends one message, inside a span named 'around'
    python-amqp.py receive URL QUEUE     receives the queue's first message

It prints what came of it as one line of JSON: the message's headers and the spans.
"""

import sys

import pika
from opentelemetry.instrumentation.pika import PikaInstrumentor
from python_told import provider, tell

mode, url, queue = sys.argv[1:]
tracer = provider.get_tracer("python-amqp")
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
PikaInstrumentor.instrument_channel(channel, tracer_provider=provider)
headers = []

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
tell(headers)
