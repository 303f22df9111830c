//! Where spans and metrics go, and how context is passed on.

use std::fmt;
use std::sync::{Arc, LazyLock};

use opentelemetry::global::{BoxedTracer, ObjectSafeTracer};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use otel_ml_semconv::{gen_ai, ml};

use crate::carrier::{ExtractCarrier, InjectCarrier};
use crate::instruments::Instruments;
use crate::intern::Interner;
use crate::levels::{Level, LevelOf};
use crate::propagation::{Anomaly, Propagation, is_read_again};
use crate::providers::{Meters, Source, Tracers, scope};
use crate::shared::Entry;

/// The tracer, the instruments and the propagator that an instrumentation uses.
///
/// A cheap handle: clones share everything. [`Telemetry::global`], the default everywhere,
/// uses the global providers; they are resolved when first used, not when the handle or a
/// layer is made, and looked for again while they are missing (on each of the first 64
/// uses, then a tracer on every 64th and a meter, which costs more to look for, on every
/// 512th). A provider that was found is kept for the life of the process. A propagator is looked
/// for on each of a thread's first 64 uses, then on every 16th; once one is set, another in its
/// place is seen within 64 uses of a thread, and both at once by a
/// [`selfcheck`](Telemetry::selfcheck).
///
/// Make one handle for a meter provider that is given, and clone it: each has gauges of its own
/// (requests in flight, queue sizes, what models hold), and of several under one name an SDK reports the last.
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
    tracers: Tracers,
    meters: Meters,
    propagation: Propagation,
    interner: Interner,
    /// Whether prompts and answers are recorded; `None` for what the environment says.
    content: Option<bool>,
    labels_model_version: bool,
}

impl State {
    const fn new(
        tracers: Source<BoxedTracer>,
        meters: Source<Meter>,
        propagation: Propagation,
    ) -> Self {
        Self {
            tracers: Tracers::new(tracers),
            meters: Meters::new(meters),
            propagation,
            interner: Interner::new(),
            content: None,
            labels_model_version: false,
        }
    }
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
        Context::map_current(Self::of)
    }

    /// That of the nearest operation in `cx`, else [`global`](Self::global).
    #[must_use]
    pub fn of(cx: &Context) -> Self {
        Entry::find(cx).map_or_else(Self::global, |shared| shared.telemetry.clone())
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
        self.state().tracers.get()
    }

    /// The instruments, or `None` while no meter provider is there.
    #[must_use]
    #[inline]
    pub fn instruments(&self) -> Option<&Instruments> {
        self.state().meters.get()
    }

    /// Has the metrics of `of` tell `level`, for as long as somebody holds it. Call it once for
    /// each; also before there is a global meter provider, which then finds it.
    ///
    /// # Cardinality
    /// The level's labels are kept for the life of the process.
    pub fn watch(&self, of: LevelOf, level: &Arc<Level>) {
        if let Some(levels) = self.state().meters.levels() {
            levels.watch(of, level);
        }
    }

    /// Looks for global providers that were not there yet, and at the global propagator,
    /// whether it is time to or not.
    pub(crate) fn look_now(&self) {
        let state = self.state();
        state.tracers.look_now();
        state.meters.look_now();
        state.propagation.look_now();
    }

    /// Whether the tracer provider in use was shut down, and another one is there.
    pub(crate) fn is_replaced(&self) -> bool {
        self.state().tracers.is_replaced()
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
        if is_read_again() {
            return;
        }
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
