"""A worker with the propagators of OpenTelemetry's API alone, no SDK and no instrumentation.

Reads envelopes, a line each, and answers each with what it read and with an envelope of its own: one more
on the payload, and as its parent a span of its own in the trace that it was sent.
"""

import json
import secrets
import sys
import time

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

propagator = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])

for line in sys.stdin:
    envelope = json.loads(line)
    # The map itself is the carrier.
    context = propagator.extract(envelope, context=Context())
    sender = trace.get_current_span(context).get_span_context()

    own = trace.INVALID_SPAN_CONTEXT
    if sender.is_valid:
        own = trace.SpanContext(
            sender.trace_id, secrets.randbits(63) | 1, False, sender.trace_flags, sender.trace_state
        )
    context = trace.set_span_in_context(trace.NonRecordingSpan(own), context)
    payload = envelope["payload"]
    answer = {
        "submitted_at_ms": time.time_ns() // 1_000_000,
        "attempt": 1,
        "payload": payload + 1 if isinstance(payload, int) else payload,
    }
    propagator.inject(answer, context=context)

    read = {
        "trace_id": trace.format_trace_id(sender.trace_id),
        "span_id": trace.format_span_id(sender.span_id),
        "own_span_id": trace.format_span_id(own.span_id),
        "sampled": sender.trace_flags.sampled,
        "flags": int(sender.trace_flags),
        "remote": sender.is_remote,
        "baggage": dict(baggage.get_all(context)),
        "attempt": envelope.get("attempt"),
        "age": time.time() - envelope.get("submitted_at_ms", 0) / 1000,
        "payload": payload,
    }
    print(json.dumps({"read": read, "sent": answer}), flush=True)
