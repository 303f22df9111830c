//! What takes connections and never answers.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::LONG;

/// Reads all it is sent and says nothing, for as long as the process lives.
pub(crate) struct Hanging {
    address: SocketAddr,
    read: Arc<Progress>,
}

/// The most bytes that a connection brought.
#[derive(Default)]
struct Progress {
    most: Mutex<usize>,
    changed: Condvar,
}

impl Hanging {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let read = Arc::<Progress>::default();
        let progress = Arc::clone(&read);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let progress = Arc::clone(&progress);
                thread::spawn(move || swallow(stream, &progress));
            }
        });
        Self { address, read }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for a connection that brought so many bytes.
    pub(crate) fn wait_for(&self, bytes: usize) {
        let most = self.read.most.lock().unwrap();
        let waited = self
            .read
            .changed
            .wait_timeout_while(most, LONG, |most| *most < bytes);
        let (most, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{most} bytes in place of {bytes}");
    }
}

fn swallow(mut stream: TcpStream, progress: &Progress) {
    let mut buffer = [0; 4096];
    let mut total = 0;
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        total += count;
        let mut most = progress.most.lock().unwrap();
        *most = total.max(*most);
        progress.changed.notify_all();
    }
}
