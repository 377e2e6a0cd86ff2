//! What was on a host before, and is none of ours: a unit that listens on five ports, a site, a file and, where there is Docker, a
//! container, like the project that one guide asks to leave alone.

use holdfast_testkit::lab::Lab;

/// Begins it. The unit's program answers on each port with its process id, so that a restart would be seen from outside.
const PLANT: &str = r#"set -eu
mkdir -p /opt/dcs
echo 'kept by hand' > /opt/dcs/notes
cat > /opt/dcs/serve.py <<'END'
import os, socketserver, threading
class Say(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"%d\n" % os.getpid())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
for port in (int(port) for port in os.environ["PORTS"].split()):
    threading.Thread(target=Server(("0.0.0.0", port), Say).serve_forever).start()
END
cat > /etc/systemd/system/dcs.service <<END
[Service]
Environment="PORTS=$PORTS"
ExecStart=/usr/bin/python3 /opt/dcs/serve.py
[Install]
WantedBy=multi-user.target
END
cat > /etc/nginx/conf.d/dcs.conf <<'END'
server {
    listen 8099;
    location / { return 200 "dcs\n"; }
}
END
systemctl daemon-reload
systemctl enable -q --now dcs
nginx -qt
systemctl reload nginx
if [ -n "$IMAGE" ]; then docker run -d --name dcs --restart always "$IMAGE" > /dev/null; fi
"#;

/// Says what there is of it.
const LOOK: &str = r#"set -eu
stat -c '%n %a %u %g %s %Y %i' /opt/dcs/* /etc/systemd/system/dcs.service /etc/nginx/conf.d/dcs.conf
sha256sum /opt/dcs/* /etc/systemd/system/dcs.service /etc/nginx/conf.d/dcs.conf
systemctl show dcs -p MainPID -p NRestarts -p ActiveState -p ActiveEnterTimestampMonotonic -p UnitFileState
for port in $PORTS; do
    printf '%s ' "$port"
    timeout 5 bash -c "cat < /dev/tcp/127.0.0.1/$port"
done
curl -sSfm 5 http://127.0.0.1:8099/
if [ -n "$IMAGE" ]; then docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.State.Running}} {{.RestartCount}} {{.Image}}' dcs; fi
"#;

/// The ports of the guide that asks for it.
pub(super) const PORTS: &str = "5432 5433 6380 3001 5173";

/// A host that has it, and what it was like then.
pub(super) struct Foreign<'a> {
    lab: &'a Lab,
    host: &'a str,
    settings: String,
    was: String,
}

impl<'a> Foreign<'a> {
    /// Plants it on a host, with these ports; without an image there is no container.
    pub(super) fn plant(lab: &'a Lab, host: &'a str, image: &str, ports: &str) -> Self {
        let settings = format!("IMAGE='{image}' PORTS='{ports}'\n");
        let mut foreign = Self { lab, host, settings, was: String::new() };
        foreign.run(PLANT);
        holdfast_testkit::lab::wait_until("what is foreign answers", std::time::Duration::from_secs(30), || {
            let script = foreign.settings.clone() + LOOK;
            lab.try_run(&["exec", host, "--", "bash", "-c", &script]).status.success()
        });
        foreign.was = foreign.run(LOOK);
        foreign
    }

    fn run(&self, script: &str) -> String {
        self.lab.exec(self.host, &["bash", "-c", &(self.settings.clone() + script)])
    }

    /// Asserts that it is as it was, to the byte, the inode and the process.
    pub(super) fn assert_untouched(&self) {
        assert_eq!(self.run(LOOK), self.was, "what is foreign on {} is as it was", self.host);
    }
}
