//! What the application's hooks say of several messages at once.

use opentelemetry::KeyValue;
use otel_ml::hooks::Hooks;
use otel_ml::messaging::{Client, Destination, process_batch, receive};
use otel_ml::{Attributes, MlSpan, Outcome, Since};
use otel_ml_semconv::{kafka, messaging as keys, ml};
use otel_ml_testing::{SpanExt, TestTelemetry};

use super::{Letter, SYSTEM, options};

/// Messages with these offsets.
fn letters<const N: usize>(offsets: [i64; N]) -> [Letter; N] {
    offsets.map(|offset| Letter {
        destination: Destination::named("jobs"),
        offset,
        ..Letter::traced()
    })
}

#[test]
fn attributes_of_all_are_on_the_span_and_those_that_differ_on_the_links() {
    let test = TestTelemetry::new();
    let attributes = |letter: &Letter, to: &mut Attributes| {
        to.push("app.tenant", "a");
        to.push("app.number", letter.offset);
        if letter.offset == 2 {
            to.push("app.second", true);
        }
    };
    let options = options(&test).map_hooks(|_| Hooks {
        filter: (),
        name: (),
        attributes,
    });
    let mut operation = process_batch(&letters([1, 2]), &options).unwrap();
    // What a hook has said a handler can't say again.
    operation.scope(|| {
        MlSpan::current().set("app.tenant", "by the handler");
    });
    operation.finish(Outcome::Ok);
    let span = test.spans().remove(0);
    assert_eq!(span.str("app.tenant"), "a");
    assert!(!span.has("app.number") && !span.has("app.second"));
    let tenants = span
        .attributes
        .iter()
        .filter(|attribute| attribute.key.as_str() == "app.tenant");
    assert_eq!(tenants.count(), 1);
    let on_links: Vec<_> = span.links.iter().map(|link| &*link.attributes).collect();
    let offset = |number| KeyValue::new(kafka::OFFSET, number);
    let number = |number| KeyValue::new("app.number", number);
    assert_eq!(
        on_links,
        [
            [offset(1), number(1)].as_slice(),
            &[offset(2), number(2), KeyValue::new("app.second", true)],
        ]
    );
}

#[test]
fn a_name_that_all_have_is_the_spans() {
    let name = |letter: &Letter| match letter.offset {
        0 => None,
        10.. => Some("late".into()),
        _ => Some("score".into()),
    };
    for (offsets, expected) in [
        ([1, 2], "score"),
        ([10, 11], "late"),
        ([1, 10], "process jobs"),
        ([1, 0], "process jobs"),
        ([0, 1], "process jobs"),
    ] {
        let test = TestTelemetry::new();
        let options = options(&test).map_hooks(|_| Hooks {
            filter: (),
            name,
            attributes: (),
        });
        let batch = letters(offsets);
        process_batch(&batch, &options).unwrap().finish(Outcome::Ok);
        assert_eq!(test.spans()[0].name, expected, "{offsets:?}");
    }
}

#[test]
fn e06_a_message_that_is_filtered_is_neither_linked_nor_counted() {
    let test = TestTelemetry::new();
    let options = options(&test).map_hooks(|_| Hooks {
        filter: |letter: &Letter| letter.offset != 1,
        name: (),
        attributes: (),
    });
    let client = Client::of(SYSTEM);
    let poll = |letters: &[Letter]| receive("poll", &client, letters, Since::now(), &options);
    let some = letters([0, 1, 2]);
    poll(&some).unwrap().finish(Outcome::Ok);
    process_batch(&some, &options).unwrap().finish(Outcome::Ok);
    for span in test.spans() {
        let offsets: Vec<_> = span.links.iter().map(|link| &link.attributes[0]).collect();
        let offset = |number| KeyValue::new(kafka::OFFSET, number);
        assert_eq!(offsets, [&offset(0), &offset(2)], "{}", span.name);
        // It was there all the same.
        assert_eq!(span.int(keys::BATCH_MESSAGE_COUNT), 3);
        assert!(!span.has(ml::LINKS_DROPPED));
    }
    let metrics = test.metrics();
    let name = keys::metric::CLIENT_CONSUMED_MESSAGES.name;
    let of = |operation| {
        metrics
            .sum(name)
            .with(keys::OPERATION_NAME, operation)
            .int()
    };
    assert_eq!((of("poll"), of("process")), (2, 2));

    // All of them.
    test.reset();
    let none = letters([1, 1]);
    assert!(poll(&none).is_none() && process_batch(&none, &options).is_none());
    assert!(test.spans().is_empty() && test.open_spans().is_empty());
}

#[test]
fn hooks_can_not_crowd_out_what_is_a_batchs_own() {
    let test = TestTelemetry::new();
    let attributes = |letter: &Letter, to: &mut Attributes| {
        let same = (0..100).map(|number| KeyValue::new(format!("app.k{number}"), number));
        to.extend(same);
        to.push("app.number", letter.offset);
    };
    let mut options = options(&test).map_hooks(|_| Hooks {
        filter: (),
        name: (),
        attributes,
    });
    options.attribute_cap = 9;
    let batch = letters([0, 1]);
    process_batch(&batch, &options).unwrap().finish(Outcome::Ok);
    let span = test.spans().remove(0);
    assert_eq!(span.attributes.len(), 9);
    assert!(span.has(keys::BATCH_MESSAGE_COUNT) && span.has("app.k0"));
    // Those that all have are not on the links, and there is no room for others.
    assert!(span.links.iter().all(|link| link.attributes.len() == 1));
}
