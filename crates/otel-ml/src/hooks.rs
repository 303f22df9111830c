//! Where an application joins in: which requests are recorded, under which name, with what.
//!
//! `R` is what a transport shows of a request: `RequestHead` for HTTP and gRPC,
//! the message for messaging. Closures are hooks, `()` is the hook that does nothing, and
//! an `Option` of a hook is one. A closure's argument needs its type written out.
//!
//! A hook that panics does so in the request: the panic goes on, as a handler's would. Where it
//! has no span yet, there is none; one that has started ends as failed, with `error.type` =
//! `panic`. A filter, a name and, of a span that is sampled, attributes are asked for before that.

use std::borrow::Cow;

use crate::attributes::Attributes;

/// Chooses the requests that are recorded. Others run unrecorded; their context is passed on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not filter `{R}`",
    note = "a filter is a closure such as `|request: &RequestHead<'_>| request.uri.path() != \"/metrics\"`"
)]
pub trait Filter<R: ?Sized> {
    /// Whether `request` is recorded.
    fn accepts(&self, request: &R) -> bool;

    /// Accepts what both accept.
    fn and<F: Filter<R>>(self, other: F) -> And<Self, F>
    where
        Self: Sized,
    {
        And(self, other)
    }

    /// Accepts what either accepts.
    fn or<F: Filter<R>>(self, other: F) -> Or<Self, F>
    where
        Self: Sized,
    {
        Or(self, other)
    }
}

impl<R: ?Sized> Filter<R> for () {
    fn accepts(&self, _request: &R) -> bool {
        true
    }
}

impl<R: ?Sized, F: Fn(&R) -> bool> Filter<R> for F {
    fn accepts(&self, request: &R) -> bool {
        self(request)
    }
}

impl<R: ?Sized, F: Filter<R>> Filter<R> for Option<F> {
    fn accepts(&self, request: &R) -> bool {
        self.as_ref().is_none_or(|filter| filter.accepts(request))
    }
}

/// Accepts what both filters accept. Made by [`Filter::and`].
#[derive(Clone, Copy, Debug)]
pub struct And<A, B>(A, B);

impl<R: ?Sized, A: Filter<R>, B: Filter<R>> Filter<R> for And<A, B> {
    fn accepts(&self, request: &R) -> bool {
        self.0.accepts(request) && self.1.accepts(request)
    }
}

/// Accepts what either filter accepts. Made by [`Filter::or`].
#[derive(Clone, Copy, Debug)]
pub struct Or<A, B>(A, B);

impl<R: ?Sized, A: Filter<R>, B: Filter<R>> Filter<R> for Or<A, B> {
    fn accepts(&self, request: &R) -> bool {
        self.0.accepts(request) || self.1.accepts(request)
    }
}

/// Names spans.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name the span of `{R}`",
    note = "a name is made by a closure such as `|request: &RequestHead<'_>| Some(\"infer\".into())`"
)]
pub trait SpanName<R: ?Sized> {
    /// The span's name; `None` for the convention's.
    ///
    /// # Cardinality
    /// Low: a name with an id in it makes a trace backend useless.
    fn span_name(&self, request: &R) -> Option<Cow<'static, str>>;
}

impl<R: ?Sized> SpanName<R> for () {
    fn span_name(&self, _request: &R) -> Option<Cow<'static, str>> {
        None
    }
}

impl<R: ?Sized, F: Fn(&R) -> Option<Cow<'static, str>>> SpanName<R> for F {
    fn span_name(&self, request: &R) -> Option<Cow<'static, str>> {
        self(request)
    }
}

impl<R: ?Sized, N: SpanName<R>> SpanName<R> for Option<N> {
    fn span_name(&self, request: &R) -> Option<Cow<'static, str>> {
        self.as_ref().and_then(|name| name.span_name(request))
    }
}

/// Adds attributes to spans, or labels to metrics, from a request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` takes no attributes from `{R}`",
    note = "attributes are pushed by a closure such as `|request: &RequestHead<'_>, to: &mut Attributes| to.push(\"tenant\", \"a\")`"
)]
pub trait SpanAttributes<R: ?Sized> {
    /// Pushes attributes of `request`. Called before the sampler decides, and only when the
    /// span may be recorded.
    fn attributes(&self, request: &R, to: &mut Attributes);
}

impl<R: ?Sized> SpanAttributes<R> for () {
    fn attributes(&self, _request: &R, _to: &mut Attributes) {}
}

impl<R: ?Sized, F: Fn(&R, &mut Attributes)> SpanAttributes<R> for F {
    fn attributes(&self, request: &R, to: &mut Attributes) {
        self(request, to);
    }
}

impl<R: ?Sized, A: SpanAttributes<R>> SpanAttributes<R> for Option<A> {
    fn attributes(&self, request: &R, to: &mut Attributes) {
        if let Some(attributes) = self {
            attributes.attributes(request, to);
        }
    }
}

/// The hooks of one layer or wrapper.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks<F = (), N = (), A = ()> {
    /// Which requests are recorded.
    pub filter: F,
    /// Under which name.
    pub name: N,
    /// With which attributes of their own.
    pub attributes: A,
}

/// What a transport asks of its hooks, whatever they are made of.
pub trait AllHooks<R: ?Sized>: Filter<R> + SpanName<R> + SpanAttributes<R> {}

impl<R: ?Sized, H: Filter<R> + SpanName<R> + SpanAttributes<R>> AllHooks<R> for H {}

impl<R: ?Sized, F: Filter<R>, N, A> Filter<R> for Hooks<F, N, A> {
    fn accepts(&self, request: &R) -> bool {
        self.filter.accepts(request)
    }
}

impl<R: ?Sized, F, N: SpanName<R>, A> SpanName<R> for Hooks<F, N, A> {
    fn span_name(&self, request: &R) -> Option<Cow<'static, str>> {
        self.name.span_name(request)
    }
}

impl<R: ?Sized, F, N, A: SpanAttributes<R>> SpanAttributes<R> for Hooks<F, N, A> {
    fn attributes(&self, request: &R, to: &mut Attributes) {
        self.attributes.attributes(request, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_put_together() {
        let even = |n: &u8| n.is_multiple_of(2);
        let small = |n: &u8| *n < 5;
        assert!(even.and(small).accepts(&2));
        assert!(!even.and(small).accepts(&6));
        assert!(even.or(small).accepts(&3));
        assert!(!even.or(small).accepts(&7));
        assert!(Filter::<u8>::accepts(&(), &7));
        assert!(None::<fn(&u8) -> bool>.accepts(&7));
        assert!(!Some(even).accepts(&7));
    }
}
