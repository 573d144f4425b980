//! A webhook receiver: a listener on this machine that keeps the requests it gets and responds as it was told to.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The longest time until a webhook arrives.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A receiver; it ends with the program.
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    received: Mutex<Vec<Webhook>>,
    more: Condvar,
    responses: Mutex<VecDeque<Answer>>,
}

/// A status, header lines and a body.
type Answer = (u16, String, String);

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    /// The request line.
    pub(crate) line: String,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The exact bytes.
    pub(crate) body: Vec<u8>,
}

impl Webhook {
    /// The only value of a header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.iter().filter(|(key, _)| key == name).collect();
        assert_eq!(values.len(), 1, "{name} in {self:?}");
        &values[0].1
    }

    /// The body.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a webhook is JSON")
    }
}

impl Receiver {
    /// Returns a receiver that responds to every webhook with 200 and an empty body.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                // A malformed request gets no response; the case that waits for it fails.
                std::thread::spawn(move || shared.receive(socket));
            }
        });
        Self { address, state }
    }

    /// The URL of the receiver.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?a=1", self.address)
    }

    /// The next webhook gets this response.
    pub(crate) fn answer_next(&self, status: u16, body: &str) {
        self.state.responses.lock().expect("nobody panics with it").push_back((
            status,
            String::new(),
            body.to_owned(),
        ));
    }

    /// The next webhook is refused with this status, and the receiver asks for a pause.
    pub(crate) fn refuse_next(&self, status: u16, retry_after: &str) {
        let line = format!("retry-after: {retry_after}\r\n");
        self.state.responses.lock().expect("nobody panics with it").push_back((status, line, String::new()));
    }

    /// The webhook of this number, from 0 on, when it has come.
    #[track_caller]
    pub(crate) fn wait(&self, number: usize) -> Webhook {
        let deadline = Instant::now() + TIMEOUT;
        let mut received = self.state.received.lock().expect("nobody panics with it");
        while received.len() <= number {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "webhook {number} did not come; so far: {received:?}");
            received = self.state.more.wait_timeout(received, left).expect("nobody panics with it").0;
        }
        received[number].clone()
    }

    /// The number of webhooks so far.
    pub(crate) fn count(&self) -> usize {
        self.state.received.lock().expect("nobody panics with it").len()
    }
}

impl State {
    fn receive(&self, mut socket: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(socket.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let next = self.responses.lock().ok()?.pop_front();
        let (status, lines, response) = next.unwrap_or_else(|| (200, String::new(), String::new()));
        self.received.lock().ok()?.push(Webhook { line: line.trim_end().to_owned(), headers, body });
        self.more.notify_all();
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\nlocation: {}\r\n{lines}\r\n",
            response.len(),
            "/elsewhere",
        );
        socket.write_all(format!("{head}{response}").as_bytes()).ok()
    }
}
