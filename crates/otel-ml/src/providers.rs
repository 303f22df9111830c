//! The tracer and the instruments behind a `Telemetry`: given, or looked for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, TryLockError, Weak};

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer,
};
use opentelemetry::{Context, InstrumentationScope};
use otel_ml_semconv::SCHEMA_URL;

use crate::instruments::Instruments;
use crate::levels::Levels;

/// Where a signal goes.
pub(crate) enum Source<T> {
    Global,
    Given(T),
    Off,
}

/// The tracer, if there is one.
pub(crate) struct Tracers {
    source: Source<BoxedTracer>,
    found: OnceLock<BoxedTracer>,
    pace: Pace,
}

impl Tracers {
    pub(crate) const fn new(source: Source<BoxedTracer>) -> Self {
        Self {
            source,
            found: OnceLock::new(),
            pace: Pace::every(64),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&BoxedTracer> {
        match &self.source {
            Source::Given(tracer) => Some(tracer),
            Source::Off => None,
            Source::Global => self.found.get().or_else(|| self.look_when_due()),
        }
    }

    /// Whether the global one that was found was shut down, and another is there now: all that is
    /// recorded comes to nothing.
    pub(crate) fn is_replaced(&self) -> bool {
        let (Source::Global, Some(found)) = (&self.source, self.found.get()) else {
            return false;
        };
        let current = global::tracer_with_scope(scope());
        is_shut_down(found) && !is_noop(&current) && !is_shut_down(&current)
    }

    fn look_when_due(&self) -> Option<&BoxedTracer> {
        self.pace.is_due().then(|| self.look()).flatten()
    }

    /// Looks for a global one that was not there yet, whether it is time to or not.
    pub(crate) fn look_now(&self) {
        if matches!(self.source, Source::Global) && self.found.get().is_none() {
            self.look();
        }
    }

    fn look(&self) -> Option<&BoxedTracer> {
        let tracer = global::tracer_with_scope(scope());
        if is_noop(&tracer) {
            return None;
        }
        Some(self.found.get_or_init(|| tracer))
    }
}

/// The instruments, if there is a meter.
pub(crate) struct Meters {
    source: Source<Meter>,
    found: OnceLock<Arc<Instruments>>,
    pace: Pace,
}

impl Meters {
    pub(crate) const fn new(source: Source<Meter>) -> Self {
        Self {
            source,
            found: OnceLock::new(),
            pace: Pace::every(512),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&Instruments> {
        if matches!(self.source, Source::Off) {
            return None;
        }
        match self.found.get() {
            Some(found) => Some(found),
            None => self.make_or_look(),
        }
    }

    fn make_or_look(&self) -> Option<&Instruments> {
        match &self.source {
            Source::Off => None,
            Source::Given(meter) => {
                let make = || Arc::new(Instruments::new(meter));
                Some(self.found.get_or_init(make))
            }
            Source::Global => self.pace.is_due().then(|| self.look(false)).flatten(),
        }
    }

    /// Looks for a global one that was not there yet, whether it is time to or not.
    pub(crate) fn look_now(&self) {
        if matches!(self.source, Source::Global) && self.found.get().is_none() {
            self.look(true);
        }
    }

    /// Where levels are kept that this meter asks for, or the global one once it is there.
    pub(crate) fn levels(&self) -> Option<&Levels> {
        match &self.source {
            Source::Off => None,
            Source::Global => Some(Levels::global()),
            Source::Given(_) => self.get().map(|instruments| &*instruments.levels),
        }
    }

    /// One thread at a time, as an SDK keeps every observable callback it is given: `None` is
    /// what the others get who can't wait.
    fn look(&self, waits: bool) -> Option<&Instruments> {
        let lock = &RESOLVED;
        let mut resolved = if waits {
            lock.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            match lock.try_lock() {
                Ok(resolved) => resolved,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            }
        };
        let provider = global::meter_provider();
        let known = resolved
            .as_ref()
            .filter(|known| Weak::ptr_eq(&known.provider, &Arc::downgrade(&provider)))
            .map(|known| Arc::clone(&known.instruments));
        let instruments = match known {
            Some(known) => known,
            None => {
                let meter = provider.meter_with_scope(scope());
                let instruments = Arc::new(Instruments::if_observed(&meter)?);
                *resolved = Some(Resolved {
                    provider: Arc::downgrade(&provider),
                    instruments: Arc::clone(&instruments),
                });
                instruments
            }
        };
        Some(self.found.get_or_init(|| instruments))
    }
}

/// The instruments of the global meter provider that was found last, for all handles that use
/// it: of two that count requests in flight under one name, an SDK believes one.
static RESOLVED: Mutex<Option<Resolved>> = Mutex::new(None);

struct Resolved {
    provider: Weak<dyn MeterProvider + Send + Sync>,
    instruments: Arc<Instruments>,
}

pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("otel-ml")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build()
}

/// Whether spans of `tracer` come to nothing, found out without starting one.
///
/// Under a suppressed context an SDK answers with an invalid span; the API's no-op tracer
/// hands the parent's span context back.
fn is_noop(tracer: &BoxedTracer) -> bool {
    static PROBE: LazyLock<Context> = LazyLock::new(|| {
        let parent = SpanContext::new(
            TraceId::from(1),
            SpanId::from(1),
            TraceFlags::NOT_SAMPLED,
            true,
            TraceState::NONE,
        );
        Context::new()
            .with_remote_span_context(parent)
            .with_telemetry_suppressed()
    });
    tracer
        .build_with_context(SpanBuilder::from_name("probe"), &PROBE)
        .span_context()
        .is_valid()
}

/// An SDK that was shut down answers with an invalid span. Below a parent that is not sampled one
/// that works starts none that is exported, unless its sampler doesn't look at parents.
fn is_shut_down(tracer: &BoxedTracer) -> bool {
    let parent = Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(1),
        SpanId::from(1),
        TraceFlags::NOT_SAMPLED,
        true,
        TraceState::NONE,
    ));
    let span = tracer.build_with_context(SpanBuilder::from_name("selfcheck"), &parent);
    !span.span_context().is_valid()
}

/// When to look again for something that was not there.
struct Pace {
    every: u32,
    uses: AtomicU32,
}

impl Pace {
    const EAGER: u32 = 64;

    /// On each of the first uses, then on every so many.
    const fn every(every: u32) -> Self {
        Self {
            every,
            uses: AtomicU32::new(0),
        }
    }

    fn is_due(&self) -> bool {
        let uses = self.uses.fetch_add(1, Ordering::Relaxed);
        uses < Self::EAGER || uses.is_multiple_of(self.every)
    }
}
