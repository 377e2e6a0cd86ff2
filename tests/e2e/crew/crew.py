"""One program for every strategy: it serves, works through jobs, or must be alone. What it does badly is said by files under /srv."""
import fcntl, json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

kind, name, release = sys.argv[1:4]
BAD = f"/srv/bad/{name}.{release}"      # while it is there, /health answers 503
CRASH = f"/srv/crash/{name}.{release}"  # while it is there, it dies 0.4 s after each start
SLOW = f"/srv/slow/{name}.{release}"    # while it is there, a job still takes 20 s when the worker is told to stop


def say(word):
    with open("/srv/log", "a") as log:
        log.write(f"{name} {release} {os.getpid()} {word}\n")


def die():
    time.sleep(0.4)
    say("crash")
    print(f"{name} is out of luck", flush=True)
    os._exit(7)


say("start")
if os.path.exists(CRASH):
    threading.Thread(target=die, daemon=True).start()

if kind == "serve":
    port, address = int(sys.argv[4]), sys.argv[5]

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536

        def do_GET(self):
            bad = self.path == "/health" and os.path.exists(BAD)
            body = json.dumps(dict(release=release, status="sick" if bad else "healthy")).encode()
            self.send_response(503 if bad else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Server((address, port), Answer).serve_forever()

if kind == "store":
    with open("/data/log", "a") as data:
        data.write(release + "\n")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        signal.pause()

told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())

if kind == "work":
    job = 0
    while not told.is_set():
        job += 1
        say(f"begin {job}")
        time.sleep(0.5)
        if os.path.exists(SLOW):
            told.wait()
            say(f"told {job}")
            time.sleep(20)
        say(f"end {job}")
    say("bye")

if kind == "alone":
    lock = open(f"/srv/{name}.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("TWO")
        os._exit(1)
    say("hold")
    while not told.wait(0.05):
        pass
    # Slow to let go: whoever does not wait for it is seen.
    time.sleep(0.3)
    say("free")
