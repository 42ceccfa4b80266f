//! The built program, serving: started in a directory of its own, killed when it is dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::place::program;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) admin: String,
    child: Child,
}

impl Server {
    /// `serve DIR` with these arguments, listening on a port of its own.
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Server {
        Server::start_args(&[&[dir.to_str().expect("a temporary directory")], args].concat())
    }

    /// `serve` with these arguments alone.
    pub(crate) fn start_args(args: &[&str]) -> Server {
        let mut child = program()
            .args(["--json", "serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let address = said["address"].as_str().unwrap().parse().unwrap();
        Server { address, admin: said["admin_token"].as_str().unwrap_or_default().to_owned(), child }
    }

    /// Sends SIGTERM and returns how the program ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().unwrap().success());
        self.child.wait().unwrap()
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok(); // it may have ended
        self.child.wait().ok();
    }
}
