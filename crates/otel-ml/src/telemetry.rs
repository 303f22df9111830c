//! Where spans and metrics go, and how context is passed on.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use opentelemetry::global::{BoxedTracer, ObjectSafeTracer};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use otel_ml_semconv::{SCHEMA_URL, gen_ai, ml};

use crate::carrier::{ExtractCarrier, InjectCarrier};
use crate::instruments::Instruments;
use crate::intern::Interner;
use crate::propagation::{Anomaly, Propagation};
use crate::shared::Entry;

/// The tracer, the instruments and the propagator that an instrumentation uses.
///
/// A cheap handle: clones share everything. [`Telemetry::global`], the default everywhere,
/// uses the global providers; they are resolved when first used, not when the handle or a
/// layer is made, and looked for again while they are missing (on each of the first 64
/// uses, then a tracer on every 64th and a meter, which costs more to look for, on every
/// 256th). A provider that was found is kept for the life of the process.
///
/// Make one handle for a meter provider that is given, and clone it: each has gauges of its own
/// (requests in flight, queue sizes), and of several under one name an SDK reports the last.
///
/// ```
/// use otel_ml::Telemetry;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// let provider = SdkTracerProvider::builder().build();
/// let telemetry = Telemetry::builder().tracer_provider(&provider).without_metrics().build();
/// assert!(telemetry.is_tracing());
/// assert!(telemetry.instruments().is_none());
/// ```
#[derive(Clone)]
pub struct Telemetry(Handle);

#[derive(Clone)]
enum Handle {
    Global,
    Off,
    Own(Arc<State>),
}

static OFF: State = State::new(Source::Off, Source::Off, Propagation::auto());
static GLOBAL: State = State::new(Source::Global, Source::Global, Propagation::auto());

struct State {
    tracers: Source<BoxedTracer>,
    meters: Source<Meter>,
    tracer: OnceLock<BoxedTracer>,
    tracer_pace: Pace,
    instruments: OnceLock<Arc<Instruments>>,
    instruments_pace: Pace,
    propagation: Propagation,
    interner: Interner,
    /// Whether prompts and answers are recorded; `None` for what the environment says.
    content: Option<bool>,
    labels_model_version: bool,
}

enum Source<T> {
    Global,
    Given(T),
    Off,
}

impl State {
    const fn new(
        tracers: Source<BoxedTracer>,
        meters: Source<Meter>,
        propagation: Propagation,
    ) -> Self {
        Self {
            tracers,
            meters,
            tracer: OnceLock::new(),
            tracer_pace: Pace::every(64),
            instruments: OnceLock::new(),
            instruments_pace: Pace::every(256),
            propagation,
            interner: Interner::new(),
            content: None,
            labels_model_version: false,
        }
    }

    fn look_for_tracer(&self) -> Option<&BoxedTracer> {
        let tracer = global::tracer_with_scope(scope());
        if is_noop(&tracer) {
            return None;
        }
        Some(self.tracer.get_or_init(|| tracer))
    }

    /// One thread at a time, as an SDK keeps every observable callback it is given: `None` is
    /// what the others get who can't wait.
    fn look_for_meter(&self, waits: bool) -> Option<&Instruments> {
        let lock = &RESOLVED;
        let mut resolved = if waits {
            lock.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            lock.try_lock().ok()?
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
        Some(self.instruments.get_or_init(|| instruments))
    }
}

/// The instruments of the global meter provider that was found last, for all handles that use
/// it: of two that count requests in flight under one name, an SDK believes one.
static RESOLVED: Mutex<Option<Resolved>> = Mutex::new(None);

struct Resolved {
    provider: Weak<dyn MeterProvider + Send + Sync>,
    instruments: Arc<Instruments>,
}

impl Telemetry {
    /// The global providers and propagator.
    #[must_use]
    pub const fn global() -> Self {
        Self(Handle::Global)
    }

    /// That of the operation around the current code, else [`global`](Self::global).
    #[must_use]
    pub fn current() -> Self {
        Context::map_current(|cx| Entry::find(cx).map(|shared| shared.telemetry.clone()))
            .unwrap_or_default()
    }

    /// Whether it uses the global providers.
    #[must_use]
    pub const fn is_global(&self) -> bool {
        matches!(self.0, Handle::Global)
    }

    /// Records nothing.
    pub(crate) const fn off() -> Self {
        Self(Handle::Off)
    }

    /// Providers and a propagator of one's own.
    pub const fn builder() -> TelemetryBuilder {
        TelemetryBuilder {
            tracers: Source::Global,
            meters: Source::Global,
            propagation: Propagation::auto(),
            content: None,
            labels_model_version: false,
        }
    }

    #[inline]
    fn state(&self) -> &State {
        match &self.0 {
            Handle::Global => &GLOBAL,
            Handle::Off => &OFF,
            Handle::Own(state) => state,
        }
    }

    /// Whether a tracer is there. While none is, every call may look for one.
    #[must_use]
    #[inline]
    pub fn is_tracing(&self) -> bool {
        self.tracer().is_some()
    }

    #[inline]
    pub(crate) fn tracer(&self) -> Option<&BoxedTracer> {
        let state = self.state();
        match &state.tracers {
            Source::Given(tracer) => Some(tracer),
            Source::Off => None,
            Source::Global => state.tracer.get().or_else(|| {
                let is_due = state.tracer_pace.is_due();
                is_due.then(|| state.look_for_tracer()).flatten()
            }),
        }
    }

    /// The instruments, or `None` while no meter provider is there.
    #[must_use]
    #[inline]
    pub fn instruments(&self) -> Option<&Instruments> {
        let state = self.state();
        match &state.meters {
            Source::Off => None,
            Source::Given(meter) => {
                let make = || Arc::new(Instruments::new(meter));
                Some(state.instruments.get_or_init(make))
            }
            Source::Global => match state.instruments.get() {
                Some(found) => Some(found),
                None if state.instruments_pace.is_due() => state.look_for_meter(false),
                None => None,
            },
        }
    }

    /// Looks for global providers that were not there yet, whether it is time to or not.
    pub(crate) fn look_now(&self) {
        let state = self.state();
        if matches!(state.tracers, Source::Global) && state.tracer.get().is_none() {
            state.look_for_tracer();
        }
        if matches!(state.meters, Source::Global) && state.instruments.get().is_none() {
            state.look_for_meter(true);
        }
    }

    /// Which of a model's names are metric labels.
    pub(crate) fn model_keys(&self) -> &'static [&'static str] {
        if self.state().labels_model_version {
            &[ml::MODEL_NAME, ml::MODEL_VERSION]
        } else {
            &[ml::MODEL_NAME]
        }
    }

    /// Whether context is passed on even while no tracer is there: a propagator was set.
    #[must_use]
    pub fn is_propagating(&self) -> bool {
        self.state().propagation.is_set()
    }

    /// What `carrier` says of its sender, as a fresh context: never the current one.
    /// A field that is not valid is counted in `ml.propagation.anomalies` and left out.
    #[must_use]
    #[inline]
    pub fn extract<C: ExtractCarrier>(&self, carrier: &C) -> Context {
        let (cx, anomaly) = self.state().propagation.extract(carrier);
        if let Some(anomaly) = anomaly {
            self.count_anomaly(anomaly, C::TRANSPORT);
        }
        cx
    }

    /// The same where nothing may be installed: `None` then, without a look at the carrier,
    /// unless a propagator was set.
    #[must_use]
    pub fn extract_if_propagating<C: ExtractCarrier>(
        &self,
        carrier: impl FnOnce() -> C,
    ) -> Option<Context> {
        let (cx, anomaly) = self.state().propagation.extract_if_set(carrier)?;
        if let Some(anomaly) = anomaly {
            self.count_anomaly(anomaly, C::TRANSPORT);
        }
        Some(cx)
    }

    /// Writes `cx` into `carrier`, replacing the fields it held.
    pub fn inject<C: InjectCarrier>(&self, cx: &Context, carrier: &mut C) {
        self.state().propagation.inject(cx, carrier);
    }

    #[cold]
    pub(crate) fn count_anomaly(&self, anomaly: Anomaly, transport: &'static str) {
        if let Some(instruments) = self.instruments() {
            let labels = [
                KeyValue::new(ml::PROPAGATION_ANOMALY, anomaly.as_str()),
                KeyValue::new(ml::PROPAGATION_TRANSPORT, transport),
            ];
            instruments.propagation_anomalies.add(1, &labels);
        }
    }

    /// Shared copies of text that comes again and again from the wire.
    #[must_use]
    pub fn interner(&self) -> &Interner {
        &self.state().interner
    }

    /// Whether prompts and answers may be recorded on spans.
    #[must_use]
    pub fn captures_content(&self) -> bool {
        static BY_ENVIRONMENT: LazyLock<bool> = LazyLock::new(|| {
            let value = std::env::var(gen_ai::CAPTURE_MESSAGE_CONTENT_ENV).unwrap_or_default();
            let on_spans = [
                "true",
                gen_ai::capture::SPAN_ONLY,
                gen_ai::capture::SPAN_AND_EVENT,
            ];
            on_spans.iter().any(|form| value.eq_ignore_ascii_case(form))
        });
        self.state().content.unwrap_or_else(|| *BY_ENVIRONMENT)
    }

    fn propagation(&self) -> &impl fmt::Debug {
        &self.state().propagation
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::global()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.0 {
            Handle::Global => "global",
            Handle::Off => "off",
            Handle::Own(_) => "own",
        };
        f.debug_struct("Telemetry")
            .field("source", &source)
            .field("propagation", self.propagation())
            .finish_non_exhaustive()
    }
}

/// Puts a [`Telemetry`] together. A signal that is neither given nor switched off uses the
/// global provider.
#[must_use]
pub struct TelemetryBuilder {
    tracers: Source<BoxedTracer>,
    meters: Source<Meter>,
    propagation: Propagation,
    content: Option<bool>,
    labels_model_version: bool,
}

impl TelemetryBuilder {
    /// Takes spans' tracer from `provider`.
    pub fn tracer_provider<P>(self, provider: &P) -> Self
    where
        P: TracerProvider,
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as Tracer>::Span: Send + Sync + 'static,
    {
        let tracer: Box<dyn ObjectSafeTracer + Send + Sync> =
            Box::new(provider.tracer_with_scope(scope()));
        Self {
            tracers: Source::Given(BoxedTracer::new(tracer)),
            ..self
        }
    }

    /// Takes the meter from `provider`.
    pub fn meter_provider(self, provider: &dyn MeterProvider) -> Self {
        Self {
            meters: Source::Given(provider.meter_with_scope(scope())),
            ..self
        }
    }

    /// Uses `propagator` in place of the automatic choice.
    pub fn propagator(self, propagator: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        Self {
            propagation: Propagation::given(propagator),
            ..self
        }
    }

    /// Records no spans. Context is still passed on.
    pub fn without_traces(self) -> Self {
        Self {
            tracers: Source::Off,
            ..self
        }
    }

    /// Records no metrics.
    pub fn without_metrics(self) -> Self {
        Self {
            meters: Source::Off,
            ..self
        }
    }

    /// Records prompts and answers where they are handed over, or never, in place of what
    /// `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says (which is never, unless set).
    pub fn capture_content(self, wanted: bool) -> Self {
        Self {
            content: Some(wanted),
            ..self
        }
    }

    /// Labels metrics with `ml.model.version` beside `ml.model.name`, to compare the versions
    /// of a rollout.
    ///
    /// # Cardinality
    /// Every version is a new time series of each metric; the span has it in any case.
    pub fn label_model_version(self) -> Self {
        Self {
            labels_model_version: true,
            ..self
        }
    }

    /// The handle.
    #[must_use]
    pub fn build(self) -> Telemetry {
        let state = State::new(self.tracers, self.meters, self.propagation);
        Telemetry(Handle::Own(Arc::new(State {
            content: self.content,
            labels_model_version: self.labels_model_version,
            ..state
        })))
    }
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryBuilder")
            .field("propagation", &self.propagation)
            .finish_non_exhaustive()
    }
}

fn scope() -> InstrumentationScope {
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
