//! Handles what every call needs: it counts the call, sets its time-outs, and adds the endpoint to its errors.

use std::{sync::Arc, time::Duration};

use aws_sdk_ec2::operation::{
    run_instances::RunInstancesInput, start_instances::StartInstancesInput,
    terminate_instances::TerminateInstancesInput,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextRef,
                BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
                FinalizerInterceptorContextMut, Input,
            },
        },
        orchestrator::{Metadata, OrchestratorError},
        runtime_components::RuntimeComponents,
        stalled_stream_protection::StalledStreamProtectionConfig,
    },
};
use aws_smithy_types::{
    config_bag::{ConfigBag, Storable, StoreReplace},
    timeout::TimeoutConfig,
};

use crate::{
    calls::Counter,
    clock::Clock,
    http::{CONNECT, READ, STANDSTILL, host_of},
    pace::Turn,
    unanswered::{Trouble, Unanswered, chain, find},
};

/// The slowest upload that is accepted, in bytes per second: a request's time-out grows with its size. A stalled upload
/// is detected much earlier.
const SLOWEST_LINE: u64 = 16 * 1024;

/// In bytes. Only larger requests are protected against a stalled upload.
const GUARDED: u64 = 64 * 1024;

/// The interceptor that counts calls, sets their time-outs and names the endpoint in errors.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub counter: Arc<Counter>,
    pub clock: Arc<Clock>,
}

/// The endpoint of the current attempt.
#[derive(Debug, Clone)]
struct Host(String);

impl Storable for Host {
    type Storer = StoreReplace<Self>;
}

fn operation(cfg: &ConfigBag) -> Option<String> {
    let metadata = cfg.load::<Metadata>()?;
    let service = match metadata.service() {
        "CloudWatch Logs" => "logs".to_owned(),
        other => other.to_ascii_lowercase().replace(' ', ""),
    };
    Some(format!("{service}:{}", metadata.name()))
}

/// How many instances a call launches, starts or terminates.
fn instances(input: &Input) -> u32 {
    if let Some(run) = input.downcast_ref::<RunInstancesInput>() {
        return run.max_count().and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    }
    let start = input.downcast_ref::<StartInstancesInput>().map(StartInstancesInput::instance_ids);
    let terminate = || input.downcast_ref::<TerminateInstancesInput>().map(TerminateInstancesInput::instance_ids);
    u32::try_from(start.or_else(terminate).unwrap_or_default().len()).unwrap_or(u32::MAX)
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(operation) = operation(cfg) {
            self.counter.count(&operation);
            cfg.interceptor_state().store_put(Turn::new(operation, instances(context.input())));
        }
        Ok(())
    }

    fn read_after_serialization(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let bytes = context.request().body().content_length().unwrap_or(0);
        let upload = Duration::from_secs(bytes / SLOWEST_LINE);
        // No time-out for the whole attempt: it would include the wait for a token (`pace.rs`).
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(READ + upload);
        // The SDK's protection of uploads also counts the time to connect, and its error does not name the endpoint. So
        // the connection's own time-out is shorter, and small requests have no such protection. `http.rs` protects
        // answers.
        let guard = StalledStreamProtectionConfig::enabled()
            .upload_enabled(bytes >= GUARDED)
            .download_enabled(false)
            .grace_period(STANDSTILL);
        let state = cfg.interceptor_state();
        state.store_put(timeouts.build());
        state.store_put(guard.build());
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Ok(uri) = context.request().uri().parse() {
            cfg.interceptor_state().store_put(Host(host_of(&uri)));
        }
        if let Some(turn) = cfg.load::<Turn>() {
            context.request_mut().add_extension(turn.clone());
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.clock.set(date);
        }
        Ok(())
    }

    /// Adds the endpoint to the errors of a stalled upload and of an incomplete answer.
    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(host) = cfg.load::<Host>().map(|host| host.0.clone()) else { return Ok(()) };
        let Some(Err(error)) = context.output_or_error_mut() else { return Ok(()) };
        let trouble = match error.as_connector_error() {
            Some(connector) if find::<Unanswered>(connector).is_some() || !connector.is_timeout() => return Ok(()),
            Some(_) => Trouble::Silent,
            None if error.is_timeout_error() => Trouble::Silent,
            None if error.is_response_error() => Trouble::Cut,
            None => return Ok(()),
        };
        tracing::debug!(host, error = chain(error), "no answer");
        let turn = cfg.load::<Turn>().cloned();
        let unanswered = Unanswered { host, named_by: None, proxy: None, is_strange: false, trouble, turn };
        *error = OrchestratorError::connector(unanswered.into_error(None));
        Ok(())
    }
}
