//! `holdfast doctor`: the management box and hosts checked, and what to do about each finding.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use holdfast_core::config::{Address, HostSpec};
use holdfast_core::id::HostName;
use holdfast_core::plan::{LiveHost, observe_request};
use holdfast_core::view::{
    DOCUMENT_VERSION, DoctorDocument, DoctorFinding as Finding, DoctorVerdict as Verdict, harmless,
};
use holdfast_engine::observe::observe;
use holdfast_engine::ssh::{HostPrograms, LoginLook};
use holdfast_engine::store::Store;
use holdfast_protocol::{ObserveRequest, Observed, Tool};

use crate::args::DoctorArgs;
use crate::commits::ReadCommit;
use crate::error::Error;
use crate::exit::Exit;
use crate::setup::{Revision, Setup};
use crate::wire::{Silent, Wire};

/// Free bytes below which a host is warned about: images and a second slot need room.
const LITTLE_DISK: u64 = 1024 * 1024 * 1024;

/// Runs all checks; they go on after a failed one.
pub(crate) async fn run(setup: &Setup, arguments: &DoctorArgs) -> Result<Exit, Error> {
    let mut findings = management_box(setup).await;
    if !arguments.host.is_empty() {
        match hosts(setup, &arguments.host).await {
            Ok(more) => findings.extend(more),
            Err(error) if error.message.is_empty() => return Err(error),
            Err(error) => findings.push(failed("box", "hosts", error.message, error.hint)),
        }
    }
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    let exit = if any(Verdict::Failed) { Exit::Failed } else { Exit::Ok };
    if arguments.json {
        setup.output.json(&DoctorDocument { format_version: DOCUMENT_VERSION, findings })?;
    } else {
        setup.output.data(&text(setup, &findings));
    }
    Ok(exit)
}

async fn management_box(setup: &Setup) -> Vec<Finding> {
    let manager = &setup.manager;
    let mut findings = vec![
        program("git", &["--version"], "apt-get install git"),
        program("ssh", &["-V"], "apt-get install openssh-client"),
    ];
    let named: Vec<_> = manager.host_program.iter().cloned().collect();
    let own = std::env::current_exe().ok();
    findings.push(match HostPrograms::find(&named, own.as_deref().and_then(Path::parent)) {
        Ok(programs) => {
            let first = programs.first();
            ok("box", "host program", format!("{} ({})", first.path.display(), first.digest.short()))
        }
        Err(error) => failed("box", "host program", error.to_string(), "install it beside `holdfast`".to_owned()),
    });
    findings.push(match Store::open(&manager.state_dir.join("holdfast.sqlite")) {
        Ok(_) => ok("box", "state", manager.state_dir.display().to_string()),
        Err(error) => {
            failed("box", "state", error.to_string(), "set `state_dir` to a folder this user may write".to_owned())
        }
    });
    for key in &manager.age_key_files {
        findings.push(match std::fs::metadata(key) {
            Ok(meta) if std::os::unix::fs::MetadataExt::mode(&meta) & 0o077 != 0 => warning(
                "box",
                "age key",
                format!("{} can be read by others", key.display()),
                format!("chmod 600 {}", key.display()),
            ),
            Ok(_) => ok("box", "age key", key.display().to_string()),
            Err(error) => failed(
                "box",
                "age key",
                format!("{}: {error}", key.display()),
                "`holdfast secrets keygen FILE` makes one".to_owned(),
            ),
        });
    }
    if manager.age_key_files.is_empty() {
        findings.push(warning(
            "box",
            "age key",
            "none is configured".to_owned(),
            "needed only where the repository has secrets: `age_key_files`".to_owned(),
        ));
    }
    findings.push(match setup.commit(None, None).await {
        Ok(commit) => match setup.read(&commit).await {
            Ok(ReadCommit { config: Some(_), findings, .. }) if findings.is_empty() => {
                ok("box", "repository", format!("{} at {} is valid", setup.repository.location(), commit.short()))
            }
            Ok(ReadCommit { config: Some(_), .. }) => {
                warning("box", "repository", format!("{} has warnings", commit.short()), "holdfast validate".to_owned())
            }
            Ok(ReadCommit { config: None, .. }) => {
                failed("box", "repository", format!("{} is not valid", commit.short()), "holdfast validate".to_owned())
            }
            Err(error) => failed("box", "repository", error.message, error.hint),
        },
        Err(error) => failed("box", "repository", error.message, error.hint),
    });
    let socket = manager.runtime_dir.join("control");
    findings.push(match tokio::net::UnixStream::connect(&socket).await {
        Ok(_) => ok("box", "daemon", "it runs".to_owned()),
        Err(_) => warning(
            "box",
            "daemon",
            "it does not run".to_owned(),
            "needed only to follow pushes: `systemctl enable --now holdfast`".to_owned(),
        ),
    });
    findings
}

async fn hosts(setup: &Setup, wanted: &[String]) -> Result<Vec<Finding>, Error> {
    let revision = setup.revision(setup.commit(None, None).await?).await?;
    let chosen: Vec<HostSpec> = if wanted.iter().any(|name| name == "all") {
        revision.config.hosts.values().cloned().collect()
    } else {
        wanted.iter().map(|name| named(&revision, name)).collect::<Result<_, _>>()?
    };
    let wire = Wire::open(&setup.manager).await?;
    let ports = wire.ports(&revision, Arc::new(Silent));
    let questions: Vec<_> = chosen.iter().map(|host| (host.clone(), ask(setup, &revision, host))).collect();
    let with_docker: BTreeSet<HostName> =
        questions.iter().filter(|(_, asked)| !asked.projects.is_empty()).map(|(host, _)| host.name.clone()).collect();
    let live = observe(&ports, questions).await;
    let mut findings = Vec::new();
    for host in chosen {
        let name = host.name.to_string();
        // One that cannot be reached at all is told below.
        if let Some(Ok(look)) = wire.links.look(&host).await {
            findings.extend(login(&host, &look));
        }
        match live.hosts.get(&host.name) {
            Some(LiveHost::Reached { hello, report }) => {
                let over = if host.address == Address::Local {
                    "as a child process".to_owned()
                } else {
                    format!("over ssh as {}", host.user)
                };
                findings.push(ok(&name, "reached", format!("{} on {}, {over}", hello.distribution, hello.kernel)));
                findings.push(tool(&name, "systemd", &hello.systemd, true));
                findings.push(tool(&name, "nginx", &hello.nginx, false));
                findings.push(tool(&name, "docker", &hello.docker, with_docker.contains(&host.name)));
                findings.push(tool(&name, "compose", &hello.compose, with_docker.contains(&host.name)));
                if hello.capabilities.is_empty() {
                    findings.push(warning(&name, "switch", "nftables does not work here: a switch reloads nginx, which can reset idle keep-alive connections".to_owned(), "apt-get install nftables".to_owned()));
                } else {
                    findings.push(ok(&name, "switch", "by an nftables map: loses nothing".to_owned()));
                }
                if let Observed::Seen(nginx) = &report.nginx
                    && !nginx.error.is_empty()
                {
                    findings.push(failed(
                        &name,
                        "nginx configuration",
                        harmless(&nginx.error),
                        "mend it: nothing is switched while `nginx -t` fails".to_owned(),
                    ));
                }
                let free = report.resources.disk_free;
                let said = format!("{} MiB free in /var/lib/holdfast", free / 1024 / 1024);
                findings.push(if free < LITTLE_DISK {
                    warning(
                        &name,
                        "disk",
                        said,
                        "make room: two releases stand side by side during a switch".to_owned(),
                    )
                } else {
                    ok(&name, "disk", said)
                });
                for transaction in report.transactions.iter().filter(|transaction| transaction.outcome.is_none()) {
                    findings.push(warning(
                        &name,
                        "transaction",
                        format!("{} of {} is at {:?}", transaction.release, transaction.app, transaction.phase),
                        "the next sync finishes or undoes it".to_owned(),
                    ));
                }
            }
            Some(LiveHost::Unreachable { reason }) => {
                findings.push(failed(
                    &name,
                    "reached",
                    harmless(reason),
                    "nothing is changed on a host that cannot be reached".to_owned(),
                ));
            }
            None => findings.push(failed(&name, "reached", "it was not asked".to_owned(), String::new())),
        }
    }
    Ok(findings)
}

/// Returns what was found out about a host's login.
fn login(host: &HostSpec, look: &LoginLook) -> Vec<Finding> {
    let (name, user) = (host.name.as_str(), &host.user);
    let mut findings = Vec::new();
    let mut bad = |check: &str, said: String, remedy: String| findings.push(failed(name, check, said, remedy));
    if !look.noise.is_empty() {
        let remedy =
            "what it runs at every login (`.bashrc`, `/etc/bash.bashrc`) may print only where it is interactive";
        bad("login shell", format!("it prints by itself: {}", look.noise), remedy.to_owned());
    }
    if !look.checks {
        bad("login", "`sha256sum` does not work".to_owned(), "install coreutils there".to_owned());
    }
    if !look.passes {
        let remedy = "chmod 0711 /var/lib/holdfast, there, as root".to_owned();
        bad("login", format!("{user} cannot pass through /var/lib/holdfast"), remedy);
    }
    if !look.may_serve {
        let remedy =
            format!("put this line into /etc/sudoers.d/holdfast there (sudo 1.9.10 or newer): {}", look.sudoers);
        bad("login", format!("{user} may not run the host program as root (`sudo -n`)"), remedy);
    } else if !look.may_deliver {
        let said = format!("{user} may run the host program, and not bring a new version of it");
        let remedy = "allow the second command of packaging/sudoers.d/holdfast, or install each version by other means";
        findings.push(warning(name, "login", said, remedy.to_owned()));
    }
    if findings.is_empty() {
        let how = if look.sudoers.is_empty() { "" } else { ", by sudo for two exact commands" };
        findings.push(ok(name, "login", format!("{user}{how}")));
    }
    findings
}

fn named(revision: &Revision, name: &str) -> Result<HostSpec, Error> {
    let found = revision.config.hosts.values().find(|host| host.name.as_str() == name);
    let names = || revision.config.hosts.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    found
        .cloned()
        .ok_or_else(|| Error::user(format!("the inventory has no host `{name}`"), format!("it has: {}", names())))
}

/// Returns all that any environment wants to know of a host.
fn ask(setup: &Setup, revision: &Revision, host: &HostSpec) -> ObserveRequest {
    let mut all = ObserveRequest::default();
    for environment in revision.config.environments.keys() {
        let Ok(desired) = setup.desired(revision, environment) else { continue };
        if let Some(wanted) = desired.hosts.get(&host.name) {
            let request = observe_request(wanted);
            all.files.extend(request.files);
            all.units.extend(request.units);
            all.projects.extend(request.projects);
            all.images.extend(request.images);
        }
    }
    all
}

fn program(name: &str, arguments: &[&str], remedy: &str) -> Finding {
    match Command::new(name).args(arguments).output() {
        Ok(output) => {
            let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
            let said = String::from_utf8_lossy(&said);
            ok("box", name, harmless(said.lines().next().unwrap_or_default()))
        }
        Err(error) => failed("box", name, error.to_string(), remedy.to_owned()),
    }
}

fn tool(host: &str, name: &str, tool: &Tool, needed: bool) -> Finding {
    match tool {
        Tool::Version(version) => ok(host, name, harmless(version)),
        Tool::Missing if needed => {
            failed(host, name, "missing".to_owned(), format!("install it: what is to run here needs {name}"))
        }
        Tool::Missing => warning(host, name, "missing".to_owned(), "needed only for components that use it".to_owned()),
        Tool::Broken(why) => {
            let remedy = format!("look at it on the host: `systemctl status {name}`");
            if needed {
                failed(host, name, harmless(why), remedy)
            } else {
                warning(host, name, harmless(why), format!("nothing here needs it now; else {remedy}"))
            }
        }
    }
}

fn ok(subject: &str, check: &str, said: String) -> Finding {
    Finding { subject: subject.to_owned(), check: check.to_owned(), verdict: Verdict::Ok, said, remedy: String::new() }
}

fn warning(subject: &str, check: &str, said: String, remedy: String) -> Finding {
    Finding { subject: subject.to_owned(), check: check.to_owned(), verdict: Verdict::Warning, said, remedy }
}

fn failed(subject: &str, check: &str, said: String, remedy: String) -> Finding {
    Finding { subject: subject.to_owned(), check: check.to_owned(), verdict: Verdict::Failed, said, remedy }
}

fn text(setup: &Setup, findings: &[Finding]) -> String {
    let width = findings.iter().map(|f| f.subject.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let (word, tint) = match finding.verdict {
            Verdict::Ok => ("ok     ", "\x1b[32m"),
            Verdict::Warning => ("warning", "\x1b[33m"),
            Verdict::Failed => ("FAILED ", "\x1b[31m"),
        };
        let (on, off) = if setup.output.color { (tint, "\x1b[0m") } else { ("", "") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{on}{word}{off}  {:<width$}  {}: {}", finding.subject, finding.check, finding.said);
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "{:width$}           → {}", "", finding.remedy);
        }
    }
    text
}
