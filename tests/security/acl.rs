//! What a user may do, granted on a running Kafka. rdkafka has no safe function for it.

use std::ffi::CString;
use std::ptr;

use rdkafka::ClientConfig;
use rdkafka::bindings as sys;
pub use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;
pub use rdkafka::bindings::rd_kafka_ResourceType_t as Resource;
use rdkafka::producer::{BaseProducer, Producer as _};

/// Allows `user` an operation on the resource of that name.
pub fn allow(bootstrap_servers: &str, user: &str, operation: Operation, resource: Resource, name: &str) {
    let client: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap_servers).create().unwrap();
    let text = |text: &str| CString::new(text).unwrap();
    let (name, principal, host) = (text(name), text(&format!("User:{user}")), text("*"));
    // SAFETY: the strings outlive the calls, which copy them; each object is destroyed once; the event is read before it goes.
    unsafe {
        let mut binding = sys::rd_kafka_AclBinding_new(
            resource,
            name.as_ptr(),
            sys::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
            principal.as_ptr(),
            host.as_ptr(),
            operation,
            sys::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
            ptr::null_mut(),
            0,
        );
        assert!(!binding.is_null());
        let native = client.client().native_ptr();
        let queue = sys::rd_kafka_queue_new(native);
        sys::rd_kafka_CreateAcls(native, &raw mut binding, 1, ptr::null(), queue);
        let event = sys::rd_kafka_queue_poll(queue, 30_000);
        assert!(!event.is_null(), "no answer");
        let mut count = 0;
        let results =
            sys::rd_kafka_CreateAcls_result_acls(sys::rd_kafka_event_CreateAcls_result(event), &raw mut count);
        assert_eq!(count, 1);
        let error = sys::rd_kafka_acl_result_error(*results);
        assert_eq!(sys::rd_kafka_error_code(error), sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        sys::rd_kafka_event_destroy(event);
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AclBinding_destroy(binding);
    }
}
