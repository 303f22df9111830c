//! The settings that every layer and wrapper shares.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use opentelemetry::baggage::{Baggage, BaggageExt, KeyValueMetadata};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Array, Context, Key, StringValue, Value};

use crate::attributes::Attributes;
use crate::hooks::Hooks;
use crate::operation::Handle;
use crate::outcome::ErrorType;
use crate::telemetry::Telemetry;

/// How many attributes a span starts with at most, and how many facts it takes, unless set.
pub(crate) const ATTRIBUTE_CAP: usize = 64;

/// What becomes of the context that arrives with a request or a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParentPolicy {
    /// What users of a trace expect. A server continues the caller's trace. A single message
    /// is child of, and linked to, its sender when no span is active where it is processed,
    /// and linked when one is. A batch is linked to each of its messages. A later attempt,
    /// or a message over age, is a new root with a link.
    #[default]
    Auto,
    /// The sender is the parent.
    Child,
    /// A new trace with a link to the sender: for public endpoints, whose callers must not
    /// choose trace ids and sampling. A message processed inside an active span is a child of
    /// that span, with the link.
    Link,
    /// As if nothing had arrived.
    Ignore,
}

/// What an operation makes of the context that arrived.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The parent to start below; without a span for a new root.
    pub parent: Context,
    /// The sender to link to; invalid for no link.
    pub link: SpanContext,
}

impl ParentPolicy {
    /// For a request that is answered while its caller waits.
    #[must_use]
    #[inline]
    pub fn for_request(self, sender: Context) -> Inbound {
        let link = match self {
            Self::Link => sender.span().span_context().clone(),
            Self::Auto | Self::Child | Self::Ignore => SpanContext::NONE,
        };
        Inbound {
            parent: self.parent_of(sender),
            link,
        }
    }

    /// The parent alone, of a request that is not recorded.
    #[inline]
    #[must_use]
    pub fn parent_of(self, sender: Context) -> Context {
        match self {
            Self::Auto | Self::Child => sender,
            Self::Link => only_baggage(&sender),
            Self::Ignore => Context::new(),
        }
    }
}

/// `cx` without its span.
pub(crate) fn only_baggage(cx: &Context) -> Context {
    if cx.baggage().is_empty() {
        Context::new()
    } else {
        Context::new().with_baggage(copy_baggage(cx.baggage()))
    }
}

pub(crate) fn copy_baggage(baggage: &Baggage) -> Baggage {
    baggage
        .iter()
        .map(|(key, (value, metadata))| {
            KeyValueMetadata::new(key.clone(), value.clone(), metadata.as_str())
        })
        .collect()
}

/// Tells the class of an error, where its type's name says too little. By `downcast_ref`;
/// `None` for an error it doesn't know. One that panics doesn't know it either: the error itself
/// must reach whoever is to handle it.
#[derive(Clone)]
pub struct ErrorClassifier(Arc<Classify>);

type Classify = dyn Fn(&dyn Any) -> Option<ErrorType> + Send + Sync;

impl ErrorClassifier {
    /// Classifies by `classify`.
    pub fn new(classify: impl Fn(&dyn Any) -> Option<ErrorType> + Send + Sync + 'static) -> Self {
        Self(Arc::new(classify))
    }

    /// Asks `next` where this one doesn't know an error.
    #[must_use]
    pub fn or(self, next: Self) -> Self {
        Self::new(move |error| self.class_of(error).or_else(|| next.class_of(error)))
    }

    fn class_of(&self, error: &dyn Any) -> Option<ErrorType> {
        let asked = catch_unwind(AssertUnwindSafe(|| (self.0)(error)));
        asked.ok().flatten()
    }
}

impl fmt::Debug for ErrorClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrorClassifier")
    }
}

/// How much of what is optional is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Detail {
    /// What the conventions require.
    Minimal,
    /// What they recommend, too.
    #[default]
    Standard,
    /// What they call opt-in, too: sizes. Never content.
    Full,
}

/// A header that is recorded, and the attribute it becomes.
#[derive(Clone, Debug)]
pub struct RecordedHeader {
    name: HeaderName,
    key: Key,
}

/// Settings shared by every layer and wrapper, behind the setters of their builders.
#[derive(Clone, Debug)]
pub struct Options<H = Hooks> {
    /// Where spans and metrics go.
    pub telemetry: Telemetry,
    /// What becomes of the context that arrives.
    pub parent: ParentPolicy,
    /// The age from which a message is linked and not continued; `None` for no limit.
    pub stale_after: Option<Duration>,
    /// The policy for a message that is delivered again.
    pub on_redelivery: ParentPolicy,
    /// The application's hooks.
    pub hooks: H,
    /// Request headers that are recorded.
    pub request_headers: Arc<[RecordedHeader]>,
    /// Response headers that are recorded.
    pub response_headers: Arc<[RecordedHeader]>,
    /// Baggage members that are copied to the span.
    pub baggage: Arc<[Key]>,
    /// How much of what is optional is recorded.
    pub detail: Detail,
    /// The most attributes at a span's start, and the most facts.
    pub attribute_cap: usize,
    /// Whether time spent in a queue becomes a span of its own, too.
    pub queue_wait_span: bool,
    /// Whether handlers' facts are kept for metrics where the span is not recorded.
    pub unsampled_facts: bool,
    /// What tells errors apart before the names of their types do.
    pub classifier: Option<ErrorClassifier>,
}

impl<H: Default> Default for Options<H> {
    fn default() -> Self {
        Self::new(H::default())
    }
}

impl<H> Options<H> {
    /// The defaults, with `hooks`.
    #[must_use]
    pub fn new(hooks: H) -> Self {
        Self {
            telemetry: Telemetry::global(),
            parent: ParentPolicy::Auto,
            stale_after: Some(Duration::from_secs(3600)),
            on_redelivery: ParentPolicy::Link,
            hooks,
            request_headers: Arc::default(),
            response_headers: Arc::default(),
            baggage: Arc::default(),
            detail: Detail::Standard,
            attribute_cap: ATTRIBUTE_CAP,
            queue_wait_span: false,
            unsampled_facts: false,
            classifier: None,
        }
    }

    /// The same settings with other hooks.
    #[must_use]
    pub fn map_hooks<G>(self, map: impl FnOnce(H) -> G) -> Options<G> {
        let (bare, hooks) = self.swap_hooks(());
        bare.swap_hooks(map(hooks)).0
    }

    /// The same settings with `hooks`, and the hooks that they had.
    #[must_use]
    pub fn swap_hooks<G>(self, hooks: G) -> (Options<G>, H) {
        let others = Options {
            telemetry: self.telemetry,
            parent: self.parent,
            stale_after: self.stale_after,
            on_redelivery: self.on_redelivery,
            hooks,
            request_headers: self.request_headers,
            response_headers: self.response_headers,
            baggage: self.baggage,
            detail: self.detail,
            attribute_cap: self.attribute_cap,
            queue_wait_span: self.queue_wait_span,
            unsampled_facts: self.unsampled_facts,
            classifier: self.classifier,
        };
        (others, self.hooks)
    }

    /// Which operations handlers can write facts to. A telemetry of one's own is found by the
    /// stages inside a request through its operation, so that one is always there.
    #[must_use]
    pub const fn handle(&self) -> Handle {
        if self.unsampled_facts || !self.telemetry.is_global() {
            Handle::Always
        } else {
            Handle::Recorded
        }
    }

    /// Asks `own`, a transport's knowledge of its errors, where the application's classifier
    /// doesn't know one.
    pub fn classify_by(&mut self, own: ErrorClassifier) {
        self.classifier = Some(match self.classifier.take() {
            Some(given) => given.or(own),
            None => own,
        });
    }

    /// The class of `error`.
    pub fn error_type<E: 'static>(&self, error: &E) -> ErrorType {
        let known = self
            .classifier
            .as_ref()
            .and_then(|classifier| classifier.class_of(error));
        known.unwrap_or_else(ErrorType::of::<E>)
    }

    /// Copies the allowed members of the baggage in `cx`. Their keys can't be written again.
    pub fn push_baggage(&self, cx: &Context, to: &mut Attributes) {
        for key in self.baggage.iter() {
            if let Some(value) = cx.baggage().get(key.as_str()) {
                to.push(key.clone(), value.clone());
            }
        }
    }
}

/// The attributes of recorded headers: `prefix` and the lower-case name.
///
/// Names that are no header name are left out: they could never match.
#[must_use]
pub fn recorded_headers<T: AsRef<str>>(
    prefix: &str,
    names: impl IntoIterator<Item = T>,
) -> Arc<[RecordedHeader]> {
    let parsed = names
        .into_iter()
        .filter_map(|name| HeaderName::try_from(name.as_ref()).ok());
    parsed
        .map(|name| RecordedHeader {
            key: format!("{prefix}{name}").into(),
            name,
        })
        .collect()
}

impl RecordedHeader {
    /// The attribute for this header in `headers`: all its values that are text.
    #[must_use]
    pub fn attribute(&self, headers: &HeaderMap) -> Option<(Key, Value)> {
        let values: Vec<StringValue> = headers
            .get_all(&self.name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(|text| text.to_owned().into())
            .collect();
        (!values.is_empty()).then(|| (self.key.clone(), Value::Array(Array::String(values))))
    }
}

/// The setters that all builders have. `$builder` is generic over its hooks, and over
/// `$generic`, and holds `options: Options<H>`; `$rest` are its other fields.
#[doc(hidden)]
#[macro_export]
macro_rules! option_setters {
    ($builder:ident<$($generic:ident),*> { $($rest:ident),* }) => {
        impl<F, N, A $(, $generic)*> $builder<$crate::hooks::Hooks<F, N, A> $(, $generic)*> {
            /// Records through `telemetry` in place of the global providers.
            pub fn telemetry(mut self, telemetry: $crate::Telemetry) -> Self {
                self.options.telemetry = telemetry;
                self
            }

            /// What becomes of the context that arrives. [`Auto`]($crate::ParentPolicy::Auto)
            /// if not called.
            pub fn parent(mut self, policy: $crate::ParentPolicy) -> Self {
                self.options.parent = policy;
                self
            }

            /// Records the requests that `filter` accepts, and no others. It replaces the
            /// filter that is there by default.
            pub fn filter<G>(self, filter: G) -> $builder<$crate::hooks::Hooks<G, N, A> $(, $generic)*> {
                $builder {
                    options: self.options.map_hooks(|hooks| $crate::hooks::Hooks {
                        filter,
                        name: hooks.name,
                        attributes: hooks.attributes,
                    }),
                    $($rest: self.$rest,)*
                }
            }

            /// Names spans by `name`, where it returns one.
            pub fn span_name<M>(self, name: M) -> $builder<$crate::hooks::Hooks<F, M, A> $(, $generic)*> {
                $builder {
                    options: self.options.map_hooks(|hooks| $crate::hooks::Hooks {
                        filter: hooks.filter,
                        name,
                        attributes: hooks.attributes,
                    }),
                    $($rest: self.$rest,)*
                }
            }

            /// Adds the attributes that `attributes` pushes to every span.
            pub fn attributes<B>(self, attributes: B) -> $builder<$crate::hooks::Hooks<F, N, B> $(, $generic)*> {
                $builder {
                    options: self.options.map_hooks(|hooks| $crate::hooks::Hooks {
                        filter: hooks.filter,
                        name: hooks.name,
                        attributes,
                    }),
                    $($rest: self.$rest,)*
                }
            }

            /// Copies these members of the baggage to the span, under their own names.
            /// Baggage comes from the caller: allow only what may be stored. None by default.
            pub fn baggage<K: Into<$crate::opentelemetry::Key>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
                self.options.baggage = keys.into_iter().map(Into::into).collect();
                self
            }

            /// How much of what is optional is recorded.
            pub fn detail(mut self, detail: $crate::Detail) -> Self {
                self.options.detail = detail;
                self
            }

            /// Keeps what handlers write for metrics (`gen_ai.server.*`, confidence, inference
            /// duration) also where the span is not sampled. Off by default, as it costs three
            /// allocations for each such request: switch it on where traces are sampled and
            /// these metrics are relied upon. Always on with a telemetry of one's own. Servers
            /// and consumers only.
            pub fn unsampled_facts(mut self, kept: bool) -> Self {
                self.options.unsampled_facts = kept;
                self
            }

            /// Tells errors apart: the class that `classify` returns for an error becomes
            /// `error.type`, in place of the name of its type. Classes must be few.
            pub fn classify_errors(
                mut self,
                classify: impl Fn(&dyn ::std::any::Any) -> Option<$crate::ErrorType> + Send + Sync + 'static,
            ) -> Self {
                self.options.classifier = Some($crate::ErrorClassifier::new(classify));
                self
            }

            /// The most attributes at a span's start, and the most facts a handler may write.
            /// 64 each if not called; the SDK has a limit of its own (128 in all).
            pub fn attribute_cap(mut self, cap: usize) -> Self {
                self.options.attribute_cap = cap;
                self
            }
        }
    };
}

/// The setters that the builders of all consumers have besides. `$builder` is generic over its
/// hooks alone, and holds `options: Options<H>`.
#[doc(hidden)]
#[macro_export]
macro_rules! consumer_setters {
    ($builder:ident) => {
        impl<H> $builder<H> {
            /// The age from which a message is linked to, and not continued, under
            /// [`ParentPolicy::Auto`]($crate::ParentPolicy::Auto). An hour if not called;
            /// `None` for no limit.
            pub fn stale_after(mut self, age: impl Into<Option<::std::time::Duration>>) -> Self {
                self.options.stale_after = age.into();
                self
            }

            /// The policy for later deliveries of a message, under
            /// [`ParentPolicy::Auto`]($crate::ParentPolicy::Auto).
            /// [`Link`]($crate::ParentPolicy::Link) if not called: a new trace, linked to the
            /// sender.
            pub fn on_redelivery(mut self, policy: $crate::ParentPolicy) -> Self {
                self.options.on_redelivery = policy;
                self
            }

            /// Makes the time in the queue a span of its own, `queue_wait`, besides the
            /// attribute and the metric. Off by default.
            pub fn queue_wait_span(mut self, wanted: bool) -> Self {
                self.options.queue_wait_span = wanted;
                self
            }
        }
    };
}
