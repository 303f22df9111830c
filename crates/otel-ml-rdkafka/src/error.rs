//! What class of error an error of rdkafka's is.

use otel_ml::{ErrorClassifier, ErrorType};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

macro_rules! codes {
    ($($transience:literal: $($code:ident),+;)+) => {
        /// The code's name, and whether trying again may help, for codes that clients meet.
        const fn known(code: RDKafkaErrorCode) -> Option<(&'static str, bool)> {
            match code {
                $($(RDKafkaErrorCode::$code => Some((stringify!($code), $transience)),)+)+
                _ => None,
            }
        }
    };
}

codes! {
    true: AllBrokersDown, AssignmentLost, BrokerNotAvailable, BrokerTransportFailure,
        CoordinatorLoadInProgress, CoordinatorNotAvailable, FencedLeaderEpoch,
        KafkaStorageError, LeaderNotAvailable, MessageTimedOut, NetworkException,
        NotCoordinator, NotEnoughReplicas, NotEnoughReplicasAfterAppend,
        NotLeaderForPartition, OperationTimedOut, QueueFull, RebalanceInProgress,
        RequestTimedOut, Resolve, StaleMemberEpoch, ThrottlingQuotaExceeded, TimedOutQueue,
        UnknownTopicOrPartition, WaitingForCoordinator;
    false: Authentication, BadMessage, ClusterAuthorizationFailed, Fatal, Fenced,
        FencedInstanceId, GroupAuthorizationFailed, IllegalGeneration, InvalidArgument,
        InvalidMessage, InvalidMessageSize, InvalidProducerEpoch, InvalidRecord,
        InvalidTimestamp, InvalidTopic, InvalidTransactionalState, MessageBatchTooLarge,
        MessageSizeTooLarge, NoOffset, OffsetOutOfRange, OutOfOrderSequenceNumber,
        PolicyViolation, PollExceeded, ProducerFenced, PurgeInflight, PurgeQueue,
        SaslAuthenticationFailed, State, TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed, UnknownGroup, UnknownMemberId, UnknownPartition,
        UnknownProducerId, UnknownTopic;
}

/// `error.type` of `error`: the name of its code, as [`RDKafkaErrorCode`] has it, such as
/// `MessageTimedOut`; `Canceled` when the client was dropped before the answer came; `_OTHER`
/// for what clients hardly ever meet.
///
/// ```
/// use otel_ml_rdkafka::error_type;
/// use otel_ml_rdkafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
///
/// let error = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
/// assert_eq!(error_type(&error).as_str(), "QueueFull");
/// ```
#[must_use]
pub fn error_type(error: &KafkaError) -> ErrorType {
    match error {
        KafkaError::Canceled => ErrorType::new("Canceled"),
        KafkaError::PartitionEOF(_) => ErrorType::new("PartitionEOF"),
        KafkaError::ClientConfig(..) | KafkaError::Nul(_) => ErrorType::new("InvalidArgument"),
        error => {
            let known = error.rdkafka_error_code().and_then(known);
            known.map_or(ErrorType::OTHER, |(name, _)| ErrorType::new(name))
        }
    }
}

/// Whether trying again may help; `None` where that is not known.
pub(crate) fn is_transient(error: &KafkaError) -> Option<bool> {
    let known = error.rdkafka_error_code().and_then(known);
    known.map(|(_, is_transient)| is_transient)
}

/// What is known of rdkafka's errors.
pub(crate) fn classifier() -> ErrorClassifier {
    ErrorClassifier::new(|error| error.downcast_ref().map(error_type))
}
