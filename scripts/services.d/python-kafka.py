"""A peer for the Kafka tests: confluent-kafka with OpenTelemetry's instrumentation.

    python-kafka.py send BOOTSTRAP TOPIC         sends one message, inside a span named 'around'
    python-kafka.py receive BOOTSTRAP TOPIC      receives the topic's first message

It prints what came of it as one line of JSON: the message's headers and the spans.
"""

import sys

import confluent_kafka
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
from python_told import provider, tell

mode, bootstrap, topic = sys.argv[1:]
tracer = provider.get_tracer("python-kafka")
instrumentor = ConfluentKafkaInstrumentor()
headers = []

if mode == "send":
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    producer = instrumentor.instrument_producer(producer, tracer_provider=provider)
    with tracer.start_as_current_span("around"):
        producer.produce(topic, key="python", value="from Python", headers=[("app", "kept")])
    if producer.flush(30):
        sys.exit("the message was not sent")
else:
    # A group of its own, which commits nothing: nobody else is to wait for it.
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"python-{topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer = instrumentor.instrument_consumer(consumer, tracer_provider=provider)
    consumer.subscribe([topic])
    message = None
    for _ in range(60):
        message = consumer.poll(1.0)
        if message is not None:
            break
    if message is None or message.error():
        sys.exit(f"no message: {message and message.error()}")
    headers = [[name, value and value.decode()] for name, value in message.headers()]
    # The span of the processing ends with the next poll, or with the consumer.
    consumer.poll(0.1)
    consumer.close()
tell(headers)
