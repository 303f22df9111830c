"""What the peers of the broker tests share: spans kept in memory, and told as one line of JSON."""

import json

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))


def _context(context):
    return {
        "trace": f"{context.trace_id:032x}",
        "span": f"{context.span_id:016x}",
        "flags": f"{context.trace_flags:02x}",
    }


def _span(span):
    return {
        "name": span.name,
        "kind": span.kind.name,
        **_context(span.context),
        "parent": f"{span.parent.span_id:016x}" if span.parent else None,
        "links": [_context(link.context) for link in span.links],
        "error": not span.status.is_ok,
    }


def tell(headers):
    """Prints the headers of the message that was received, as pairs, and all spans."""
    print(json.dumps({"headers": headers, "spans": [_span(span) for span in spans.get_finished_spans()]}))
