use std::collections::HashSet;

use otel_ml_semconv::{Instrument, metrics, ml};

use crate::{GEN_AI, TYPES, is_upstream, state, texts};

#[test]
fn every_metric_is_upstream_and_not_deprecated() {
    for metric in metrics().filter(|metric| !metric.name.starts_with(ml::PREFIX)) {
        if metric.name.starts_with("gen_ai.") {
            assert!(
                texts(&GEN_AI["metrics"]).contains(&metric.name),
                "{}",
                metric.name
            );
        } else {
            let state = state("metrics", metric.name);
            assert!(
                matches!(state, Some("stable" | "development")),
                "{} is {state:?}",
                metric.name
            );
        }
    }
}

#[test]
fn instruments_units_and_bounds_are_the_published_ones() {
    for metric in metrics().filter(|metric| !metric.name.starts_with(ml::PREFIX)) {
        let fact = &TYPES["metrics"][metric.name];
        let instrument = match metric.instrument {
            Instrument::Histogram => "histogram",
            Instrument::Counter => "counter",
            Instrument::UpDownCounter => "updowncounter",
            Instrument::Gauge => "gauge",
        };
        assert_eq!(
            fact["instrument"].as_str(),
            Some(instrument),
            "{}",
            metric.name
        );
        assert_eq!(fact["unit"].as_str(), Some(metric.unit), "{}", metric.name);
        let bounds = fact["boundaries"].as_array().map_or(Vec::new(), |bounds| {
            bounds.iter().filter_map(|bound| bound.as_f64()).collect()
        });
        assert_eq!(metric.boundaries, bounds, "{}", metric.name);
    }
}

#[test]
fn our_metrics_collide_with_nothing_and_can_be_recorded() {
    let ours: Vec<_> = metrics()
        .filter(|metric| metric.name.starts_with(ml::PREFIX))
        .collect();
    assert!(ours.len() >= 15);
    for metric in ours {
        assert!(!is_upstream(metric.name), "{}", metric.name);
        let histogram = metric.instrument == Instrument::Histogram;
        assert_eq!(!metric.boundaries.is_empty(), histogram, "{}", metric.name);
    }
}

#[test]
fn definitions_are_well_formed() {
    let mut seen = HashSet::new();
    for metric in metrics() {
        assert!(seen.insert(metric.name), "{} twice", metric.name);
        assert!(
            metric.boundaries.is_sorted_by(|low, high| low < high),
            "{}",
            metric.name
        );
        let annotated = metric.unit.starts_with('{') && metric.unit.ends_with('}');
        assert!(
            annotated || ["s", "By", "1"].contains(&metric.unit),
            "{}",
            metric.name
        );
        assert!(metric.description.ends_with('.'), "{}", metric.name);
    }
}
