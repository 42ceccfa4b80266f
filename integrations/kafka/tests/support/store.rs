//! An object store of the part of S3's protocol that the broker uses. It outlives the broker, so a killed broker starts again on what it had,
//! and tests can take objects out of it: what a disk would lose.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use identity_ledger::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Objects {
    by_key: BTreeMap<String, (Vec<u8>, u64)>,
    /// Numbers each change: tags and times of objects.
    changes: u64,
    /// Connections of brokers that were killed change nothing more.
    brokers: u64,
}

#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) port: u16,
    objects: Arc<Mutex<Objects>>,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Store {
    pub(crate) async fn start() -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Store { port: listener.local_addr().unwrap().port(), objects: Arc::default() };
        let serving = store.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let broker = serving.objects().brokers;
                tokio::spawn(serving.clone().serve(connection, broker));
            }
        });
        store
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    /// The keys of the messages of a topic, in order: one for each message.
    pub(crate) fn messages(&self, topic: &str) -> Vec<String> {
        let folder = key_of_records(topic);
        self.objects().by_key.keys().filter(|key| key.contains(&folder)).cloned().collect()
    }

    pub(crate) fn remove(&self, key: &str) -> Vec<u8> {
        self.objects().by_key.remove(key).unwrap().0
    }

    /// Changes how many messages a topic counts, and removes those behind.
    pub(crate) fn count(&self, topic: &str, change: impl Fn(u64) -> u64) {
        let mut objects = self.objects();
        let ending = format!("topics/{topic}/partitions/0000000000/watermark.json");
        let key = objects.by_key.keys().find(|key| key.ends_with(&ending)).unwrap().clone();
        let text = String::from_utf8(objects.by_key[&key].0.clone()).unwrap();
        let (before, high) = (counted(&text), change(counted(&text)));
        let text = text.replace(&format!("\"high\":{before}"), &format!("\"high\":{high}"));
        objects.changes += 1;
        let change = objects.changes;
        objects.by_key.insert(key, (text.into_bytes(), change));
        let records = key_of_records(topic);
        objects.by_key.retain(|key, _| {
            key.split_once(&records).is_none_or(|(_, offset)| offset[..20].parse::<u64>().unwrap() < high)
        });
    }

    /// Removes the messages of a topic before an offset: what deleting records does on a broker that can.
    pub(crate) fn cut_before(&self, topic: &str, first: u64) {
        let records = key_of_records(topic);
        self.objects().by_key.retain(|key, _| {
            key.split_once(&records).is_none_or(|(_, offset)| offset[..20].parse::<u64>().unwrap() >= first)
        });
    }

    /// Whether a text stands in any object.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let objects = self.objects();
        let mut bodies = objects.by_key.values();
        bodies.any(|(body, _)| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    /// Ends a broker, at a moment when no topic has a place for a message that is not there. This broker counts a message before it stores
    /// it, so another moment can leave a gap, which is a named stop of its own (`quick.rs`).
    pub(crate) fn end_broker(&self, kill: impl FnOnce()) {
        let mut kill = Some(kill);
        for _ in 0..10_000 {
            let mut objects = self.objects();
            if is_whole(&objects.by_key) {
                objects.brokers += 1;
                return kill.take().expect("once")();
            }
            drop(objects);
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        panic!("the broker always has a message on its way");
    }

    async fn serve(self, connection: TcpStream, broker: u64) {
        connection.set_nodelay(true).unwrap();
        let mut connection = BufReader::new(connection);
        while let Some(request) = read(&mut connection).await {
            let Some(answer) = self.answer(&request, broker) else { return };
            if connection.get_mut().write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request, broker: u64) -> Option<Vec<u8>> {
        let mut objects = self.objects();
        if objects.brokers != broker {
            return None;
        }
        let (_, key) = request.path.trim_start_matches('/').split_once('/').unwrap_or(("", ""));
        let found = objects.by_key.get(key).map(|(body, change)| (body.clone(), format!("\"{change}\"")));
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        Some(match request.method.as_str() {
            "GET" if key.is_empty() => response(200, "", list(&objects, &request.query).as_bytes(), true),
            "GET" | "HEAD" => match found {
                None => response(404, "", b"<Error><Code>NoSuchKey</Code></Error>", true),
                Some((_, tag)) if header("if-none-match") == Some(&tag) => response(304, &tag, b"", true),
                Some((body, tag)) => response(200, &tag, &body, request.method == "GET"),
            },
            "PUT" => {
                let refused = match (header("if-match"), header("if-none-match"), &found) {
                    (Some(expected), _, found) => {
                        found.as_ref().map(|(_, tag)| tag.as_str()) != Some(expected)
                    }
                    (_, Some("*"), found) => found.is_some(),
                    _ => false,
                };
                if refused {
                    return Some(response(412, "", b"<Error><Code>PreconditionFailed</Code></Error>", true));
                }
                objects.changes += 1;
                let change = objects.changes;
                objects.by_key.insert(key.to_owned(), (request.body.clone(), change));
                response(200, &format!("\"{change}\""), b"", true)
            }
            "DELETE" => {
                objects.by_key.remove(key);
                response(204, "", b"", true)
            }
            "POST" if request.query.starts_with("delete") => {
                let text = String::from_utf8_lossy(&request.body);
                let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
                let mut done = "<DeleteResult>".to_owned();
                for key in keys {
                    objects.by_key.remove(key);
                    write!(done, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
                }
                response(200, "", (done + "</DeleteResult>").as_bytes(), true)
            }
            other => panic!("{other} {}?{}", request.path, request.query),
        })
    }
}

/// Whether each topic has as many messages as it counts.
fn is_whole(objects: &BTreeMap<String, (Vec<u8>, u64)>) -> bool {
    objects.iter().filter(|(key, _)| key.ends_with("watermark.json")).all(|(key, (body, _))| {
        let records = key.replace("watermark.json", "records/");
        let last = objects.range(records.clone()..).take_while(|(key, _)| key.starts_with(&records)).last();
        let next =
            last.map_or(0, |(key, _)| key[records.len()..records.len() + 20].parse::<u64>().unwrap() + 1);
        counted(&String::from_utf8_lossy(body)) == next
    })
}

fn key_of_records(topic: &str) -> String {
    format!("topics/{topic}/partitions/0000000000/records/")
}

/// How many messages a topic counts.
fn counted(watermark: &str) -> u64 {
    let high = watermark.split("\"high\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    high.and_then(|high| high.parse().ok()).unwrap_or(0)
}

fn list(objects: &Objects, query: &str) -> String {
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or("");
    let (prefix, by_folder) = (unescaped(prefix), query.contains("delimiter="));
    let mut text = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
    let mut folders = std::collections::BTreeSet::new();
    for (key, (body, change)) in objects.by_key.range(prefix.clone()..) {
        let Some(rest) = key.strip_prefix(&prefix) else { break };
        if by_folder && let Some((folder, _)) = rest.split_once('/') {
            folders.insert(format!("{prefix}{folder}/"));
            continue;
        }
        let modified =
            Timestamp::from_micros(1_800_000_000_000_000 + i64::try_from(*change).unwrap()).unwrap();
        let size = body.len();
        write!(
            text,
            "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>\"{change}\"</ETag><Size>{size}</Size></Contents>"
        )
        .unwrap();
    }
    for folder in folders {
        write!(text, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>").unwrap();
    }
    text + "</ListBucketResult>"
}

fn response(status: u16, tag: &str, body: &[u8], with_body: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} -\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n");
    if !tag.is_empty() {
        write!(head, "ETag: {tag}\r\n").unwrap();
    }
    if status != 204 && status != 304 {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    let body = if with_body && status != 304 { body } else { b"" };
    [head.as_bytes(), b"\r\n", body].concat()
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    connection.read_line(&mut line).await.ok().filter(|len| *len > 0)?;
    let mut parts = line.split(' ');
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        connection.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    connection.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { method, path: unescaped(path), query: query.to_owned(), headers, body })
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let hex = (*first == b'%').then(|| std::str::from_utf8(behind.get(..2)?).ok()).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}
