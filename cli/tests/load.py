"""The figures of docs/embedding.md. Each takes seconds and talks to this machine alone.

load.py PROGRAM idle                 10,000 connections that say nothing, and one that sends
load.py PROGRAM slow                 syncs that take 0, 50 and 500 ms (a C compiler makes them slow)
load.py PROGRAM batches SYNC_ONLY [ROUNDS]  100 events a request, 16 connections; beside the example `sync_only`
"""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static int later(const char *name, int fd) {
    usleep(atoi(getenv("SLOW_MS")) * 1000);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fdatasync(int fd) { return later("fdatasync", fd); }
int fsync(int fd) { return later("fsync", fd); }
"""


def request(events, number):
    batch = [
        {"event": "x", "distinct_id": f"u{(number * events + i) % 5000}", "uuid": str(uuid.uuid4()), "timestamp": "2026-01-01T00:00:00Z"}
        for i in range(events)
    ]
    body = json.dumps({"api_key": "t", "batch": batch}).encode()
    return b"POST /batch/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Server:
    def __init__(self, program, **environment):
        self.dir = tempfile.TemporaryDirectory()
        args = [program, "--json", "serve", self.dir.name, "--token", "t=shop", "--listen", "127.0.0.1:0", "--open"]
        self.child = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **environment})
        self.port = int(json.loads(self.child.stdout.readline())["address"].split(":")[1])

    def kilobytes(self):
        with open(f"/proc/{self.child.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def stop(self):
        self.child.terminate()
        assert self.child.wait() == 0
        self.dir.cleanup()


def drive(port, connections, next_request):
    """Seconds that each request took, until there is no next one; and all together."""
    took, lock = [], threading.Lock()

    def send():
        stream = socket.create_connection(("127.0.0.1", port))
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            with lock:
                sent = next_request()
            if sent is None:
                return
            begun = time.monotonic()
            stream.sendall(sent)
            answer = stream.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            took.append(time.monotonic() - begun)

    begun = time.monotonic()
    threads = [threading.Thread(target=send) for _ in range(connections)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return sorted(took), time.monotonic() - begun


def idle(program):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(program)
    before = server.kilobytes()
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10_000)]
    time.sleep(2)
    each = (server.kilobytes() - before) / len(connections)
    requests = iter([request(100, number) for number in range(500)])
    took, _ = drive(server.port, 1, lambda: next(requests, None))
    begun = time.monotonic()
    server.stop()
    stopped = time.monotonic() - begun
    print(f"{each:.1f} kB a connection, median {took[250] * 1e3:.1f} ms, 99 % {took[495] * 1e3:.1f} ms, stopped after {stopped:.1f} s")


def slow(program):
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/slow.c", "w") as source:
            source.write(SLOW)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", f"{place}/slow.so", f"{place}/slow.c", "-ldl"], check=True)
        for wait in (0, 50, 500):
            for connections, events in ((16, 1), (256, 1), (16, 100)):
                server = Server(program, LD_PRELOAD=f"{place}/slow.so", SLOW_MS=str(wait))
                end = time.monotonic() + 5
                took, seconds = drive(server.port, connections, lambda: request(events, 0) if time.monotonic() < end else None)
                rate = len(took) * events / seconds
                print(f"{wait} ms, {connections} connections, {events} events: {rate:.0f} events/s, median {took[len(took) // 2] * 1e3:.0f} ms")
                server.stop()


def batches(program, sync_only, rounds=5):
    for _ in range(int(rounds)):
        all_requests = [request(100, number) for number in range(3_000)]
        rates = []
        server = Server(program)
        requests = iter(all_requests)
        rates.append(300_000 / drive(server.port, 16, lambda: next(requests, None))[1])
        server.stop()
        with tempfile.TemporaryDirectory() as place:
            plain = subprocess.Popen([sync_only, f"{place}/file"], stdout=subprocess.PIPE)
            requests = iter(all_requests)
            rates.append(300_000 / drive(int(plain.stdout.readline()), 16, lambda: next(requests, None))[1])
            plain.kill()
            plain.wait()
        print(f"{rates[0]:.0f} events/s, {rates[1]:.0f} where a file is synced alone: {rates[0] / rates[1]:.2f}")


{"idle": idle, "slow": slow, "batches": batches}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
