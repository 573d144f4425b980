//! Two users, one URL, two responses: an origin that tells them apart by Authorization, as an application around
//! Headwater does. What a cache keeps of one may never reach the other.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use headwater_hyper::Streams;
use headwater_service::Service;
use headwater_store_mem::MemStore;
use http::header::AUTHORIZATION;
use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use crate::origin::{BASE_PATH, Counts};
use crate::proxy::{Kind, Proxy};
use crate::run::{Outcome, Stage, Timeline, attend, judge};
use crate::scenario::Scenario;
use crate::tally::Tally;
use crate::viewer::Viewer;
use crate::writer::Writer;

const USERS: [&str; 2] = ["ann", "bob"];
const STORE_BYTES_MAX: u64 = 1 << 30;

/// The application: it knows its users and gives each a stream of the same name.
struct Application {
    streams: Streams,
    reads: Cell<u64>,
    bytes: Cell<u64>,
}

impl Application {
    async fn response(&self, mut request: Request<Incoming>) -> Response<headwater_service::Body> {
        let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes().to_vec());
        let user =
            USERS.into_iter().find(|user| authorization.as_deref() == Some(credential(user).as_bytes()));
        let own = user.map_or("nobody", |user| user);
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        if path.starts_with(BASE_PATH)
            && let Ok(uri) = path.replacen(BASE_PATH, &format!("{BASE_PATH}/{own}"), 1).parse::<Uri>()
        {
            *request.uri_mut() = uri;
        }
        let is_read = request.method() == http::Method::GET;
        // The adapter never fails.
        let response = self.streams.handle(request).await.unwrap_or_else(|never: Infallible| match never {});
        if is_read {
            self.reads.set(self.reads.get() + 1);
            self.bytes.set(self.bytes.get() + response.body().size_hint().exact().unwrap_or_default());
        }
        response
    }

    async fn serve(self: Rc<Self>) -> Result<(SocketAddr, JoinHandle<()>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let application = self.clone();
                spawn_local(async move {
                    let response = service_fn(move |request| {
                        let application = application.clone();
                        async move { Ok::<_, Infallible>(application.response(request).await) }
                    });
                    // A connection that breaks is the other side's affair.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), response).await;
                });
            }
        });
        Ok((address, serving))
    }
}

fn credential(user: &str) -> String {
    format!("Bearer {user}")
}

/// Runs a scenario for two users whose streams have one URL and this visibility.
pub(crate) async fn run(scenario: &Scenario, visibility: &str, kind: Kind, stage: &Stage) -> Result<Outcome> {
    let (service, background) = Service::builder(Arc::new(MemStore::new(STORE_BYTES_MAX))).start().await?;
    let background = tokio::spawn(background.run());
    let application =
        Rc::new(Application { streams: Streams::new(service), reads: Cell::new(0), bytes: Cell::new(0) });
    let (origin, serving) = application.clone().serve().await?;
    let proxy = Proxy::start(kind, &stage.caches, &stage.folder, origin).await?;
    let path = format!("{BASE_PATH}/mail");
    let tally = Rc::new(RefCell::new(Tally::default()));
    let (_storm, storms) = watch::channel(0);
    let mut writers = Vec::new();
    for user in USERS {
        let headers = [("Authorization", &*credential(user)), ("Stream-Visibility", visibility)];
        writers.push(Writer::create(origin, &path, user, &headers).await?);
    }
    // Neighbours are of different users, and number / 2 decides how they sort their parameters.
    let users = USERS.into_iter().zip(writers.iter().map(|writer| writer.incarnations.clone())).cycle();
    let audience = users.take(stage.viewers).enumerate().map(|(number, (user, incarnations))| Viewer {
        number: number / 2,
        address: proxy.address,
        path: path.clone(),
        headers: vec![("Authorization".to_owned(), credential(user))],
        mode: scenario.mode,
        incarnations,
        tally: tally.clone(),
        storms: storms.clone(),
    });
    let audience: Vec<Viewer> = audience.collect();
    let before = (application.reads.get(), application.bytes.get());
    let play = async {
        for message in 0..Timeline::messages(scenario, stage.duration) {
            Timeline::pause(scenario, message).await;
            for writer in &mut writers {
                writer.append().await?;
            }
        }
        for writer in &mut writers {
            writer.close().await?;
        }
        Ok(())
    };
    let label = format!("{} behind {}", scenario.name, kind.name());
    let join_over = stage.duration.mul_f64(scenario.joins);
    let failures = attend(label, audience, join_over, &tally, play).await?;
    serving.abort();
    background.abort();
    let messages = writers.iter().map(|writer| writer.ledger().borrow().messages()).sum();
    let mut outcome = Outcome {
        scenario: scenario.name,
        what: scenario.what,
        kind,
        viewers: stage.viewers,
        messages,
        tally: tally.take(),
        origin: Counts {
            requests: application.reads.get() - before.0,
            revalidated: 0,
            bytes: application.bytes.get() - before.1,
        },
        broken: failures,
    };
    outcome.broken.extend(judge(scenario, &outcome));
    Ok(outcome)
}
