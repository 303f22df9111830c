//! What an operation starts with.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{
    Link, Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, KeyValue};
use otel_ml_semconv::error;

use super::end::{Live, Record};
use super::{Operation, State};
use crate::attributes::Attributes;
use crate::options::ParentPolicy;
use crate::outcome::ErrorType;
use crate::shared::{Entry, Start};
use crate::telemetry::Telemetry;

/// Whether [`MlSpan::current`](crate::MlSpan::current) finds an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    /// Never: clients and producers, whose work is done elsewhere.
    None,
    /// While its span is recorded: servers and consumers.
    Recorded,
    /// Also for its metrics alone: stages and model operations.
    Always,
}

/// What an operation starts with.
#[derive(Debug)]
#[must_use]
pub struct OperationBuilder<'a> {
    pub(super) telemetry: &'a Telemetry,
    pub(super) kind: SpanKind,
    pub(super) name: Cow<'static, str>,
    pub(super) parent: Context,
    pub(super) links: Option<Vec<Link>>,
    pub(super) handle: Handle,
    pub(super) cap: usize,
    pub(super) keeps_record: bool,
    pub(super) since: Option<Since>,
}

/// A moment, by the clock that spans use and by the one that durations use.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    pub(super) wall: SystemTime,
    pub(super) steady: Instant,
}

impl Since {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }
}

/// Apart, as a builder that is borrowed for it would have to lie in memory wherever it is used.
#[cold]
fn with_link(links: Option<Vec<Link>>, link: Link) -> Option<Vec<Link>> {
    let mut links = links.unwrap_or_default();
    links.push(link);
    Some(links)
}

impl<'a> OperationBuilder<'a> {
    /// The parent; a root without it. Links are kept also where the parent is none.
    #[inline]
    pub fn parent(self, parent: Context) -> Self {
        Self { parent, ..self }
    }

    /// The parent, and the link if there is to be one, that `policy` makes of the `sender` of a
    /// request: see [`ParentPolicy::for_request`].
    #[inline]
    pub fn sent_by(self, sender: Context, policy: ParentPolicy) -> Self {
        let (mut parent, mut links) = (sender, self.links);
        if !matches!(policy, ParentPolicy::Auto | ParentPolicy::Child) {
            let inbound = policy.for_request(parent);
            parent = inbound.parent;
            if inbound.link.is_valid() {
                links = with_link(links, Link::new(inbound.link, Vec::new(), 0));
            }
        }
        Self {
            parent,
            links,
            ..self
        }
    }

    /// A link to `span`, with `attributes` of its own. An invalid span is no link.
    #[inline]
    pub fn link(mut self, span: SpanContext, attributes: Vec<KeyValue>) -> Self {
        if span.is_valid() {
            self.links = with_link(self.links, Link::new(span, attributes, 0));
        }
        self
    }

    /// Whether its span is hardly ever recorded: below a parent that is not sampled. What a span
    /// alone needs is then better added to one that is there: [`Operation::link`].
    #[inline]
    #[must_use]
    pub fn is_unlikely(&self) -> bool {
        let span = self.parent.span();
        let parent = span.span_context();
        parent.is_valid() && !parent.is_sampled()
    }

    /// Whether handlers can write facts to it. [`Handle::None`] if not called.
    #[inline]
    pub fn handle(self, handle: Handle) -> Self {
        Self { handle, ..self }
    }

    /// The most attributes that a hook may push, and the most facts a handler may write.
    #[inline]
    pub fn attribute_cap(self, cap: usize) -> Self {
        Self { cap, ..self }
    }

    /// Keeps the record even where neither a span nor metrics are recorded.
    #[inline]
    pub fn keep_record(self, kept: bool) -> Self {
        Self {
            keeps_record: kept,
            ..self
        }
    }

    /// It began before what its span holds was known: a receipt starts with the waiting.
    #[inline]
    pub fn since(self, moment: Since) -> Self {
        Self {
            since: Some(moment),
            ..self
        }
    }

    /// Starts the span. `attributes` is called before the sampler decides, so that it sees
    /// them; below a parent that is not sampled only when the span is recorded all the same.
    /// `record` is made only where something is recorded: the work runs in its context alone
    /// otherwise.
    #[inline]
    pub fn start<R: Record>(
        self,
        record: impl FnOnce() -> R,
        attributes: impl FnOnce(&mut Attributes),
    ) -> Operation<R> {
        self.start_of((), |(), to| attributes(to), |()| record())
    }

    /// The same, of `what` both attributes and record are made of.
    #[inline]
    pub(crate) fn start_of<T, R: Record>(
        self,
        what: T,
        attributes: impl FnOnce(&T, &mut Attributes),
        record: impl FnOnce(T) -> R,
    ) -> Operation<R> {
        let off = Telemetry::off();
        let mut cx = self.parent;
        let telemetry = if cx.is_telemetry_suppressed() {
            &off
        } else {
            self.telemetry
        };
        let mut recording = false;
        let mut taken = Vec::new();
        if let Some(tracer) = telemetry.tracer() {
            let mut builder = SpanBuilder::from_name(self.name);
            builder.span_kind = Some(self.kind.clone());
            builder.links = self.links;
            builder.start_time = self.since.map(|since| since.wall);
            let (has_parent, is_sampled) = {
                let span = cx.span();
                let parent = span.span_context();
                (parent.is_valid(), parent.is_sampled())
            };
            let is_unlikely = has_parent && !is_sampled;
            let cap = self.cap;
            let fill = || {
                let mut buffer = Attributes::new(cap);
                attributes(&what, &mut buffer);
                taken = buffer.taken();
                buffer.into_vec()
            };
            let late = if is_unlikely {
                Some(fill)
            } else {
                builder.attributes = Some(fill());
                None
            };
            let span = tracer.build_with_context(builder, &cx);
            recording = span.is_recording();
            // An invalid span (provider shut down) or an unsampled one must not hide the
            // parent: it says all there is to pass on, its random flag included.
            if recording || (span.span_context().is_valid() && !has_parent) {
                cx = cx.with_span(span);
            }
            if let Some(fill) = late.filter(|_| recording) {
                let starting = Starting(Some(&cx));
                let attributes = fill();
                starting.done();
                cx.span().set_attributes(attributes);
            }
        }
        let is_observed = recording || telemetry.instruments().is_some();
        if !is_observed && !self.keeps_record {
            return Operation::passing(cx);
        }
        let started = is_observed.then(|| match self.since {
            Some(since) => since.steady,
            None => Instant::now(),
        });
        let wanted = match self.handle {
            Handle::None => false,
            Handle::Recorded => recording,
            Handle::Always => is_observed,
        };
        let mut shared = None;
        if let Some(started) = started.filter(|_| wanted) {
            let (with_entry, entry) = Entry::add(Start {
                span: cx,
                recording,
                telemetry: telemetry.clone(),
                started,
                taken,
                cap: self.cap,
            });
            cx = with_entry;
            shared = Some(entry);
        }
        let starting = Starting(recording.then_some(&cx));
        let record = record(what);
        starting.done();
        Operation {
            state: State::Live(Live {
                shared,
                cx,
                telemetry: telemetry.clone(),
                kind: self.kind,
                started,
                recording,
                record,
            }),
        }
    }
}

/// A span that has started while its operation has not: what is unwound past, such as a hook's
/// panic, ends it as a panic of its work would.
struct Starting<'a>(Option<&'a Context>);

impl Starting<'_> {
    #[inline]
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Starting<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(cx) = self.0.take() {
            fail(cx);
        }
    }
}

#[cold]
fn fail(cx: &Context) {
    let span = cx.span();
    span.set_attribute(KeyValue::new(error::TYPE, ErrorType::PANIC.into_value()));
    span.set_status(Status::error(""));
    span.end();
}
