use otel_ml_semconv::{
    db, error, exception, gen_ai, http, messaging, ml, network, rpc, url, user_agent,
};

use crate::{GEN_AI, TYPES, state, texts};

/// The values 1.44.0 publishes for an attribute.
fn published(attribute: &str) -> Vec<&'static str> {
    let kind = TYPES["attributes"][attribute]["type"].as_str();
    let values = kind.and_then(|kind| kind.strip_prefix("enum:"));
    values.expect("an enum").split(',').collect()
}

fn sorted(mut values: Vec<&str>) -> Vec<&str> {
    values.sort_unstable();
    values
}

#[test]
fn enums_we_hold_whole_are_whole() {
    let methods = [http::method::ALL, &[http::method::OTHER]].concat();
    assert_eq!(
        sorted(methods),
        sorted(published(http::REQUEST_METHOD)),
        "methods"
    );
    for (attribute, ours) in [
        (network::TRANSPORT, network::transport::ALL),
        (user_agent::SYNTHETIC_TYPE, user_agent::synthetic_type::ALL),
    ] {
        assert_eq!(
            sorted(ours.to_vec()),
            sorted(published(attribute)),
            "{attribute}"
        );
    }
    for (attribute, ours) in [
        (gen_ai::OPERATION_NAME, gen_ai::operation::ALL),
        (gen_ai::PROVIDER_NAME, gen_ai::provider::ALL),
        (gen_ai::OUTPUT_TYPE, gen_ai::output_type::ALL),
        (gen_ai::TOKEN_TYPE, gen_ai::token_type::ALL),
        (gen_ai::RESPONSE_STATUS, gen_ai::response_status::ALL),
    ] {
        assert_eq!(ours, texts(&GEN_AI["enums"][attribute]), "{attribute}");
    }
    assert_eq!(
        gen_ai::finish_reason::ALL,
        texts(&GEN_AI["finish_reasons"]),
        "finish reasons"
    );
}

#[test]
fn enums_we_hold_in_part_hold_published_values_only() {
    for (attribute, ours) in [
        ("messaging.system", messaging::system::ALL),
        (messaging::OPERATION_TYPE, messaging::operation_type::ALL),
        (rpc::SYSTEM_NAME, rpc::system::ALL),
        (db::SYSTEM_NAME, db::system::ALL),
        (error::TYPE, &[error::OTHER]),
    ] {
        let published = published(attribute);
        for value in ours {
            assert!(published.contains(value), "{attribute} = {value}");
        }
    }
    assert_eq!(state("events", exception::EVENT), Some("stable"));
}

#[test]
fn products_of_our_own_have_no_published_value() {
    let published = published(db::SYSTEM_NAME);
    for product in db::own_system::ALL {
        assert!(!published.contains(product), "{product}");
    }
}

#[test]
fn a_grpc_code_is_the_index_of_its_name() {
    let names = rpc::grpc_status::ALL;
    assert_eq!(names.len(), 17);
    assert_eq!(names[0], rpc::grpc_status::OK);
    assert_eq!(names[4], rpc::grpc_status::DEADLINE_EXCEEDED);
    assert_eq!(names[14], rpc::grpc_status::UNAVAILABLE);
    assert_eq!(names[16], rpc::grpc_status::UNAUTHENTICATED);
    assert_eq!(
        rpc::grpc_status::SERVER_ERRORS,
        [
            names[2], names[4], names[12], names[13], names[14], names[15]
        ]
    );
}

#[test]
fn values_are_unlike_each_other_and_fit_for_labels() {
    for values in [
        db::own_system::ALL,
        gen_ai::capture::ALL,
        messaging::operation::ALL,
        ml::batch_trigger::ALL,
        ml::cancel_reason::ALL,
        ml::feature_store_mode::ALL,
        ml::operation::ALL,
        ml::phase::ALL,
        ml::propagation_anomaly::ALL,
        ml::queue_system::ALL,
        ml::stage::ALL,
        ml::transport::ALL,
        network::protocol_version::ALL,
        rpc::grpc_status::ALL,
        url::REDACTED_QUERY_KEYS,
    ] {
        for (at, value) in values.iter().enumerate() {
            assert!(!values[..at].contains(value), "{value} twice");
            assert!(!value.is_empty() && !value.contains(' '), "{value:?}");
        }
    }
}
