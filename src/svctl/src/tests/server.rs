//! A server with a script: it takes one connection after the other, and answers each as the next line of the script for
//! its route says. A request that the script does not expect ends the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::TempDir;

/// How a request is answered.
pub(crate) enum Reply {
    /// Whole.
    Json(u16, String),
    /// Piece by piece, then a clean end.
    Stream(Vec<String>),
    /// Piece by piece, then the connection is cut.
    CutStream(Vec<String>),
    /// As the other, once the next line of the script has been served.
    AfterNext(Box<Reply>),
    /// Nothing: the connection is cut.
    Cut,
    /// Nothing: the connection is cut, and the server has ended by then.
    End,
}

pub(crate) struct Server {
    _dir: TempDir,
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the script, then ends.
    pub fn new(script: Vec<(&'static str, Reply)>) -> Server {
        let dir = TempDir::new();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let thread = std::thread::spawn(move || serve(listener, script, &seen));
        Server { _dir: dir, socket, thread: Some(thread), requests }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The requests, `METHOD PATH BODY`, once the script is done.
    pub fn requests(mut self) -> Vec<String> {
        self.thread.take().unwrap().join().expect("svctl asked for something else than the script says");
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn serve(listener: UnixListener, mut script: Vec<(&'static str, Reply)>, seen: &Mutex<Vec<String>>) {
    let mut listener = Some(listener);
    while !script.is_empty() {
        serve_one(&mut listener, &mut script, seen);
    }
}

fn serve_one(listener: &mut Option<UnixListener>, script: &mut Vec<(&'static str, Reply)>, seen: &Mutex<Vec<String>>) {
    let (mut stream, _) = listener.as_ref().unwrap().accept().unwrap();
    let request = read_request(&stream);
    let route = request.split(' ').take(2).collect::<Vec<_>>().join(" ");
    seen.lock().unwrap().push(request.clone());
    let at = script.iter().position(|(expected, _)| route.starts_with(expected));
    let Some(at) = at else { panic!("not in the script: {request}") };
    let (_, mut reply) = script.remove(at);
    if let Reply::AfterNext(later) = reply {
        serve_one(listener, script, seen);
        reply = *later;
    }
    answer(&mut stream, listener, reply);
}

fn answer(stream: &mut UnixStream, listener: &mut Option<UnixListener>, reply: Reply) {
    match reply {
        Reply::Json(status, body) => {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
        Reply::Stream(pieces) => {
            stream_pieces(stream, &pieces);
            let _gone = stream.write_all(b"0\r\n\r\n");
        }
        Reply::CutStream(pieces) => stream_pieces(stream, &pieces),
        // Nothing is left to be waited for.
        Reply::AfterNext(reply) => answer(stream, listener, *reply),
        Reply::Cut => {}
        Reply::End => drop(listener.take()),
    }
}

fn stream_pieces(stream: &mut UnixStream, pieces: &[String]) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    for piece in pieces {
        // A client that has seen enough leaves.
        let _gone = stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
    }
}

fn read_request(stream: &UnixStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = line.trim().trim_end_matches(" HTTP/1.1");
    format!("{request} {}", String::from_utf8(body).unwrap()).trim_end().to_owned()
}
