//! A web service that also consumes a topic, on one runtime and with one way to stop.
//!
//! ```text
//! cargo run --example axum_service                # on an embedded broker, with a little traffic of its own
//! cargo run --example axum_service -- --bootstrap-server localhost:9092 --topic orders --listen 127.0.0.1:8080
//!
//! curl http://127.0.0.1:8080/                     # how many records were handled
//! curl http://127.0.0.1:8080/state                # the consumer's state: partitions, offsets, lag, counters
//! curl -i http://127.0.0.1:8080/healthz           # 200; 503 once it stops
//! ```
//! One token ties both together. SIGINT or SIGTERM cancels it: the server finishes its requests, the consumer what its handlers hold, and
//! commits it. A consumer that dies cancels it too: the process then ends with exit code 1 and the cause.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use kafka_troupe::broker::EmbeddedBroker;
use kafka_troupe::consume::{Consumer, ConsumerHandle, Record};
use kafka_troupe::produce::{Producer, ProducerRecord};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long requests and records that are under way may take to finish; a request that takes longer is cut off.
const GRACE: Duration = Duration::from_secs(10);

/// What the routes read.
#[derive(Clone)]
struct Service {
    consumer: ConsumerHandle,
    handled: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<String, Box<dyn Error>> {
    let options = Options::parse()?;
    let token = CancellationToken::new();
    cancel_on_signal(token.clone())?;
    let listener = TcpListener::bind(options.listen).await?;

    // Dropped last: the broker must outlive the consumer's last commit.
    let mut embedded = None;
    let servers = match options.bootstrap_server {
        Some(servers) => servers,
        None => {
            let broker = embedded.insert(EmbeddedBroker::start()?);
            broker.create_topic(&options.topic, 4)?;
            let servers = broker.bootstrap_servers().to_owned();
            tokio::spawn(traffic(servers.clone(), options.topic.clone(), token.clone()));
            servers
        }
    };

    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let consumer = Consumer::builder()
        .bootstrap_servers(servers)
        .group_id("axum-service")
        .topics([options.topic])
        .async_handler(move |_: Record| {
            let count = Arc::clone(&count);
            async move {
                // Stands for a query to the service's database.
                tokio::time::sleep(Duration::from_millis(2)).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .runtime(Handle::current())
        .cancellation_token(token.clone())
        .stop_deadline(GRACE)
        .start()?;

    println!("listening on http://{}", listener.local_addr()?);
    let service = Service { consumer: consumer.clone(), handled: Arc::clone(&handled) };
    let server = axum::serve(listener, routes(service)).with_graceful_shutdown(token.clone().cancelled_owned());
    let (served, stopped) = tokio::join!(until_grace_ends(server.into_future(), &token), consumer.wait());
    let stopped = stopped?;
    served?;
    let handled = handled.load(Ordering::Relaxed);
    Ok(match stopped.drained {
        true => format!("drained and committed: {handled} records handled"),
        false => format!("{handled} records handled, unfinished: {:?}", stopped.unfinished),
    })
}

fn routes(service: Service) -> Router {
    Router::new().route("/", get(counts)).route("/state", get(state)).route("/healthz", get(health)).with_state(service)
}

async fn counts(State(service): State<Service>) -> String {
    format!("{} records handled\n", service.handled.load(Ordering::Relaxed))
}

async fn state(State(service): State<Service>) -> Result<impl IntoResponse, (StatusCode, String)> {
    match serde_json::to_string_pretty(&service.consumer.state()) {
        Ok(json) => Ok(([(header::CONTENT_TYPE, "application/json")], json)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn health(State(service): State<Service>) -> (StatusCode, &'static str) {
    if service.consumer.state().stopping {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// Runs the server, and stops everything when it ends; a connection that outstays the grace period is left to the process's end.
async fn until_grace_ends(
    server: impl Future<Output = std::io::Result<()>>,
    token: &CancellationToken,
) -> std::io::Result<()> {
    let grace = async {
        token.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let served = tokio::select! {
        served = server => served,
        () = grace => Ok(()),
    };
    token.cancel();
    served
}

/// The app's own business: the consumer installs no signal handler.
fn cancel_on_signal(token: CancellationToken) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    });
    Ok(())
}

/// A hundred orders a second or so, for the demo.
async fn traffic(servers: String, topic: String, token: CancellationToken) {
    let send = async {
        let producer = Producer::builder().bootstrap_servers(servers).start()?;
        let sender = producer.sender();
        for number in 0_u64.. {
            let key = format!("customer-{}", number % 20);
            let value = format!("order {number}");
            sender.send(ProducerRecord::to(&topic).key(&key).value(&value)).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    if let Some(Err(error)) = token.run_until_cancelled(send).await {
        eprintln!("the demo traffic ended: {error}");
    }
}

struct Options {
    bootstrap_server: Option<String>,
    topic: String,
    listen: String,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options =
            Self { bootstrap_server: None, topic: "orders".to_owned(), listen: "127.0.0.1:8080".to_owned() };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--bootstrap-server" => options.bootstrap_server = Some(value),
                "--topic" => options.topic = value,
                "--listen" => options.listen = value,
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }
}
