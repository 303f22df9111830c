use std::time::Duration;

use otel_ml_testing::matrix::{Matrix, NotApplicable, Row, Transport};

use crate::message_of;

fn good(name: &str, except: &[Row]) -> Transport {
    let rows = Row::ALL.into_iter().filter(|row| !except.contains(row));
    rows.fold(Transport::new(name), |transport, row| {
        transport.cell(row, async || {})
    })
}

#[expect(clippy::panic, reason = "what the matrix must catch")]
async fn panicking(spans: usize) {
    panic!("{spans} spans");
}

#[test]
fn no_two_rows_share_a_title() {
    let mut titles = Row::ALL.map(Row::title);
    titles.sort_unstable();
    assert!(titles.windows(2).all(|pair| pair[0] != pair[1]));
}

#[tokio::test(start_paused = true)]
async fn the_table_is_complete_after_every_kind_of_failure() {
    let odd = [
        Row::InnerError,
        Row::HandlerPanic,
        Row::DroppedMidway,
        Row::Empty,
        Row::PollReady,
        Row::InFlightZero,
        Row::NoSdk,
        Row::Filtered,
    ];
    let bad = good("bad", &odd)
        .cell(Row::InnerError, async || Err::<(), _>("no span"))
        .cell(Row::HandlerPanic, || panicking(2))
        .cell(Row::DroppedMidway, std::future::pending::<()>)
        .cell(Row::Filtered, || -> std::future::Ready<()> {
            panic!("early")
        })
        .na(Row::PollReady, NotApplicable::NoService)
        .na(Row::InFlightZero, NotApplicable::Outgoing)
        .cell(Row::NoSdk, async || {})
        .cell(Row::NoSdk, async || {});
    let matrix = Matrix::new()
        .transport(good("http server", &[]))
        .transport(bad)
        .deadline(Duration::from_secs(5));
    let report = matrix.run().await;
    assert!(!report.is_passed());
    let expected = "                                     http server  bad
ok                                   ✓            ✓
inner error                          ✓            ✗
panic in the handler                 ✓            ✗
dropped before the first poll        ✓            ✓
dropped mid-way                      ✓            ✗
empty                                ✓            ✗
malformed traceparent                ✓            ✓
absent traceparent                   ✓            ✓
duplicate traceparent                ✓            ✓
future-version traceparent           ✓            ✓
unsampled parent, still propagated   ✓            ✓
filtered                             ✓            ✗
no SDK installed                     ✓            ✗
layer built before the provider      ✓            ✓
two at once don't mix                ✓            ✓
ended exactly once                   ✓            ✓
in-flight back to 0                  ✓            ✗
children parent correctly            ✓            ✓
the same under #[instrument]         ✓            ✓
poll_ready passes, inner not cloned  ✓            n/a 1
sensitive headers not recorded       ✓            ✓
provider shut down                   ✓            ✓
provider replaced                    ✓            ✓
panic with CatchPanic outside        ✓            ✓
same fact written 1,000 times        ✓            ✓
n/a 1: it is not a service, so it has no readiness
✗ bad, inner error: no span
✗ bad, panic in the handler: panicked: 2 spans
✗ bad, dropped mid-way: not done after 5s
✗ bad, empty: there is no check
✗ bad, filtered: panicked: early
✗ bad, no SDK installed: there is more than one check
✗ bad, in-flight back to 0: may not be left out because it sends the context and never reads one
";
    assert_eq!(report.to_string(), expected);
    let message = message_of(|| report.assert_passed());
    assert!(message.ends_with(expected), "{message}");
}

#[tokio::test]
async fn a_good_matrix_passes_and_an_empty_one_does_not() {
    let report = Matrix::new().transport(good("queue", &[])).run().await;
    assert!(report.is_passed() && report.failures().is_empty());
    report.assert_passed();
    let empty = Matrix::new().run().await;
    assert!(!empty.is_passed());
    let message = message_of(|| empty.assert_passed());
    assert!(message.contains("has not passed"), "{message}");
}
