//! The plot is made of what the bench writes.

use otel_ml_bench::plot::{PlotError, plot};
use serde_json::{Value, json};

fn line(suite: &str, variant: &str, condition: &str, instructions: Option<f64>) -> Value {
    json!({
        "suite": suite,
        "variant": variant,
        "condition": condition,
        "added_instructions": instructions,
        "added_allocations": 9.0,
    })
}

fn server(variant: &str, instructions: f64) -> Vec<Value> {
    ["a", "b", "c"]
        .map(|condition| line("http-server", variant, condition, Some(instructions)))
        .to_vec()
}

/// The length of each bar, in the order of rows.
fn bars(svg: &str) -> Vec<u32> {
    let rectangles = svg.split("<rect").skip(1);
    let width = |rectangle: &str| {
        let (_, width) = rectangle.split_once("width=\"")?;
        width.split('"').next()?.parse().ok()
    };
    rectangles.filter_map(width).collect()
}

#[test]
fn variants_are_drawn_cheapest_first_and_true_to_scale() {
    let lines = [server("tower-otel", 40_000.0), server("otel-ml", 10_000.0)].concat();
    let svg = plot(&Value::from(lines.clone()).to_string()).unwrap();
    assert!(svg.find("otel-ml").unwrap() < svg.find("tower-otel").unwrap());
    assert!(
        svg.contains("10000 · 9") && svg.contains("40000 · 9"),
        "{svg}"
    );
    let bars = bars(&svg);
    assert_eq!(bars.len(), 6);
    assert!((bars[3] / 4).abs_diff(bars[0]) <= 1, "{bars:?}");
    assert_eq!(plot(&Value::from(lines).to_string()).unwrap(), svg);
}

#[test]
fn what_is_not_in_every_panel_is_not_drawn() {
    let mut lines = server("otel-ml", 10_000.0);
    lines.push(line("http-server", "floor", "c", Some(8_000.0)));
    lines.push(line("http-client", "tower-otel", "c", Some(30_000.0)));
    let svg = plot(&Value::from(lines).to_string()).unwrap();
    assert!(!svg.contains("floor") && !svg.contains("tower-otel"));
}

#[test]
fn without_instructions_there_is_no_plot() {
    let lines = vec![line("http-server", "otel-ml", "c", None)];
    let error = plot(&Value::from(lines).to_string()).unwrap_err();
    assert!(matches!(error, PlotError::Empty), "{error}");
    assert!(matches!(plot("{}").unwrap_err(), PlotError::Json(_)));
}
