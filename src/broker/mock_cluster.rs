//! The calls into librdkafka's mock cluster, and all the `unsafe` they take.
//!
//! rdkafka's own `MockCluster` cannot be shared between threads and lacks the calls that make groups form fast.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka_sys as sys;
use rdkafka_sys::types::{RDKafkaErrorCode, RDKafkaMockCluster, RDKafkaRespErr, RDKafkaType};

/// A running mock cluster and the client that librdkafka wants for its bookkeeping.
///
/// The client is a bare one without servers. With `test.mock.num.brokers` it would connect to the cluster itself, take two more
/// threads a broker, and complain whenever a test takes a broker down.
pub(super) struct RawMockCluster {
    cluster: NonNull<RDKafkaMockCluster>,
    /// Held by the one operation that is under way. See [`Self::ask`].
    asking: Mutex<()>,
    /// Kept for its drop alone: librdkafka asserts that a client outlives its clusters.
    _client: Client<DefaultClientContext>,
}

// SAFETY: no call of the mock API is bound to the thread that made the cluster. Each one either takes the cluster's own mutex (the
// `mtx_lock(&mcluster->lock)` of the error stacks and group defaults in rdkafka_mock.c) or enqueues an operation that the cluster's
// thread serves and answers (topics, brokers, coordinators); the server list is built before the cluster is handed out and never
// changes. `Client` is `Send` and `Sync` by itself.
unsafe impl Send for RawMockCluster {}
// SAFETY: as above: concurrent calls meet at that mutex or in that queue. The one call that must be alone, destroy, is made by `Drop`.
unsafe impl Sync for RawMockCluster {}

impl RawMockCluster {
    pub(super) fn new(brokers: i32) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        // Nobody polls this client, so what it logs would only pile up.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let client =
            Client::new(&config, config.create_native_config()?, RDKafkaType::RD_KAFKA_PRODUCER, DefaultClientContext)?;
        // SAFETY: the client is alive, and lives until after the cluster is destroyed.
        let cluster = unsafe { sys::rd_kafka_mock_cluster_new(client.native_ptr(), brokers) };
        match NonNull::new(cluster) {
            Some(cluster) => Ok(Self { cluster, asking: Mutex::new(()), _client: client }),
            None => Err(KafkaError::MockCluster(RDKafkaErrorCode::Fail)),
        }
    }

    pub(super) fn bootstrap_servers(&self) -> String {
        // SAFETY: the cluster is alive, and its server list is a C string that lives and stays unchanged as long as it does.
        let servers = unsafe { CStr::from_ptr(sys::rd_kafka_mock_cluster_bootstraps(self.as_ptr())) };
        servers.to_string_lossy().into_owned()
    }

    /// How long a group that was empty waits for more members, in milliseconds.
    pub(super) fn set_group_initial_rebalance_delay(&self, millis: i32) {
        // SAFETY: the cluster is alive.
        unsafe { sys::rd_kafka_mock_group_initial_rebalance_delay_ms(self.as_ptr(), millis) }
    }

    /// How often members of a KIP-848 group heartbeat, in milliseconds.
    pub(super) fn set_consumer_group_heartbeat(&self, millis: i32) {
        // SAFETY: the cluster is alive.
        unsafe {
            sys::rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(self.as_ptr(), millis);
        }
    }

    /// After how long without a heartbeat a member of a KIP-848 group counts as dead, in milliseconds.
    pub(super) fn set_consumer_group_session(&self, millis: i32) {
        // SAFETY: the cluster is alive.
        unsafe {
            sys::rd_kafka_mock_set_group_consumer_session_timeout_ms(self.as_ptr(), millis);
        }
    }

    pub(super) fn create_topic(&self, topic: &str, partitions: i32, replicas: i32) -> Result<(), RDKafkaErrorCode> {
        let topic = c_string(topic)?;
        // SAFETY: the cluster is alive; librdkafka copies the name before it returns.
        self.ask(|| unsafe { sys::rd_kafka_mock_topic_create(self.as_ptr(), topic.as_ptr(), partitions, replicas) })
    }

    /// Lets the cluster's thread serve one operation, and gives it time to go back to sleep before the next.
    ///
    /// Without that pause every fifth or so takes a whole second, for librdkafka loses the wake-up of an operation that follows at once:
    /// 1. the thread wakes, serves an operation and answers it;
    /// 2. the caller goes on and enqueues the next, with a byte into the wake-up pipe;
    /// 3. the thread empties the pipe, that byte with it, and polls for up to a second.
    fn ask(&self, operation: impl FnOnce() -> RDKafkaRespErr) -> Result<(), RDKafkaErrorCode> {
        let _alone = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = operation();
        thread::sleep(Duration::from_millis(1));
        match answer {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            error => Err(error.into()),
        }
    }

    fn as_ptr(&self) -> *mut RDKafkaMockCluster {
        self.cluster.as_ptr()
    }
}

#[cfg(feature = "testing")]
impl RawMockCluster {
    pub(super) fn set_down(&self, broker: i32) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the cluster is alive; an unknown broker is answered with an error.
        self.ask(|| unsafe { sys::rd_kafka_mock_broker_set_down(self.as_ptr(), broker) })
    }

    pub(super) fn set_up(&self, broker: i32) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: as in `set_down`.
        self.ask(|| unsafe { sys::rd_kafka_mock_broker_set_up(self.as_ptr(), broker) })
    }

    pub(super) fn set_rtt(&self, broker: i32, millis: i32) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: as in `set_down`.
        self.ask(|| unsafe { sys::rd_kafka_mock_broker_set_rtt(self.as_ptr(), broker, millis) })
    }

    pub(super) fn push_request_errors(&self, api_key: i16, errors: &[RDKafkaRespErr]) {
        // SAFETY: the cluster is alive; librdkafka copies as many errors as it is told the slice has.
        unsafe {
            sys::rd_kafka_mock_push_request_errors_array(self.as_ptr(), api_key, errors.len(), errors.as_ptr());
        }
    }

    pub(super) fn clear_request_errors(&self, api_key: i16) {
        // SAFETY: the cluster is alive.
        unsafe { sys::rd_kafka_mock_clear_request_errors(self.as_ptr(), api_key) }
    }

    pub(super) fn set_group_coordinator(&self, group: &str, broker: i32) -> Result<(), RDKafkaErrorCode> {
        let group = c_string(group)?;
        // SAFETY: the cluster is alive; librdkafka copies both strings before it returns.
        self.ask(|| unsafe {
            sys::rd_kafka_mock_coordinator_set(self.as_ptr(), c"group".as_ptr(), group.as_ptr(), broker)
        })
    }

    pub(super) fn set_leader(&self, topic: &str, partition: i32, broker: i32) -> Result<(), RDKafkaErrorCode> {
        let topic = c_string(topic)?;
        // SAFETY: the cluster is alive; librdkafka copies the name before it returns.
        self.ask(|| unsafe {
            sys::rd_kafka_mock_partition_set_leader(self.as_ptr(), topic.as_ptr(), partition, broker)
        })
    }
}

impl Drop for RawMockCluster {
    fn drop(&mut self) {
        // SAFETY: the cluster is alive, `&mut self` proves that no other call is under way, and the client, a field, is dropped only
        // after this. The call joins the cluster's thread, which therefore never sees the client gone.
        unsafe { sys::rd_kafka_mock_cluster_destroy(self.as_ptr()) }
    }
}

fn c_string(text: &str) -> Result<CString, RDKafkaErrorCode> {
    CString::new(text).map_err(|_| RDKafkaErrorCode::InvalidArgument)
}
