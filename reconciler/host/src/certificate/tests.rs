//! With a real `openssl`, and a host in a folder.

use std::fs;
use std::path::Path;

use holdfast_protocol::{CertificateIssuer, CertificateSpec, Observed, certificate_file};

use super::place::{Failed, Place, now_ms};
use super::{begin, look, openssl, run};
use crate::transaction::Host;
use crate::transaction::step::testing::Bench;

fn spec(acme: bool) -> CertificateSpec {
    CertificateSpec {
        environment: "prod".to_owned(),
        name: "shop".to_owned(),
        domains: vec!["www.example.com".to_owned(), "example.com".to_owned()],
        issuer: if acme {
            CertificateIssuer::Acme {
                directory: "https://127.0.0.1:1/dir".to_owned(),
                email: "a@example.com".to_owned(),
                trust: String::new(),
            }
        } else {
            CertificateIssuer::SelfSigned {}
        },
        renew_before_ms: 86_400_000,
        hsts: "max-age=31536000".to_owned(),
        port: 1,
    }
}

/// Tests that need `openssl` say so where there is none.
fn has_openssl(host: &Host) -> bool {
    let there = host.system.program("openssl").is_some();
    if !there {
        println!("SKIPPED 1 test: openssl is not installed");
    }
    there
}

fn host(bench: &mut Bench) -> Host {
    bench.host.system.programs = crate::paths::System::real().programs;
    bench.host.clone()
}

#[test]
fn cap_44_nginx_finds_a_certificate_before_there_is_one_and_what_is_there_stays() {
    let mut bench = Bench::new();
    let host = host(&mut bench);
    if !has_openssl(&host) {
        return;
    }
    assert_eq!(begin(&host, &spec(true)).unwrap(), "made a temporary certificate");
    let place = Place::new(&host, spec(true)).unwrap();
    let chain = openssl::read(&place.chain()).unwrap().unwrap();
    assert!(chain.temporary && chain.is_for(&spec(true).domains), "{chain:?}");
    assert!(chain.not_after_ms > now_ms() + 80 * 86_400_000);
    assert!(openssl::belong(&place.chain(), &place.path(certificate_file::KEY)).unwrap());
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777;
    assert_eq!(mode(&place.path(certificate_file::KEY)), 0o600);
    assert_eq!(mode(&place.path("pairs")), 0o700);
    assert_eq!(mode(&place.asked()), 0o755);
    assert!(!fs::read_to_string(place.path(certificate_file::HSTS)).unwrap().contains("add_header"));

    let before = fs::read(place.chain()).unwrap();
    assert_eq!(begin(&host, &spec(true)).unwrap(), "", "doing it again does nothing");
    assert_eq!(fs::read(place.chain()).unwrap(), before);

    let declared = [("/a.json".to_owned(), spec(true))].into();
    let Observed::Seen(live) = &look(&host, &declared)["/a.json"] else { panic!() };
    let seen = live.chain.as_ref().unwrap();
    assert!(seen.temporary && seen.left_ms > 0 && !live.hsts, "{live:?}");
}

#[test]
fn cap_46_the_hosts_own_takes_the_place_of_one_that_is_over_and_both_files_change_at_once() {
    let mut bench = Bench::new();
    let host = host(&mut bench);
    if !has_openssl(&host) {
        return;
    }
    assert_eq!(begin(&host, &spec(false)).unwrap(), "made a certificate of its own");
    let place = Place::new(&host, spec(false)).unwrap();
    place.paid().unwrap();
    for _ in 0..3 {
        let pair = place.new_pair().unwrap();
        openssl::make(&pair, &["example.org".to_owned()], false).unwrap();
        place.install(&pair).unwrap();
        assert!(openssl::belong(&place.chain(), &place.path(certificate_file::KEY)).unwrap());
        assert!(place.is_owed(), "nginx has to read it");
    }
    assert_eq!(fs::read_dir(place.path("pairs")).unwrap().count(), 2, "the one before stays, older ones go");
    assert_eq!(openssl::read(&place.chain()).unwrap().unwrap().domains, ["example.org"]);
}

#[test]
fn an_authority_that_refused_is_left_alone_for_a_time_and_asked_at_once_about_another_declaration() {
    let mut bench = Bench::new();
    let host = host(&mut bench);
    if !has_openssl(&host) {
        return;
    }
    begin(&host, &spec(true)).unwrap();
    let place = Place::new(&host, spec(true)).unwrap();
    place.note(&Failed { at_ms: now_ms(), text: "no".to_owned(), tries: 1 }).unwrap();
    assert_eq!(place.failed().unwrap().tries, 1);
    let said = run::due(&place, &place.failed().unwrap()).unwrap();
    assert!(said.starts_with("asks again in ") && said.ends_with("m: no"), "{said}");
    let mut later = Place::new(&host, spec(true)).unwrap();
    later.declared_ms = now_ms() + 1;
    assert_eq!(run::due(&later, &place.failed().unwrap()), None);
    assert_eq!(run::due(&place, &Failed { at_ms: 0, ..place.failed().unwrap() }), None);
}

#[test]
fn only_names_become_paths_and_arguments() {
    let mut bench = Bench::new();
    let host = host(&mut bench);
    let with = |change: &dyn Fn(&mut CertificateSpec)| {
        let mut spec = spec(true);
        change(&mut spec);
        Place::new(&host, spec).is_err()
    };
    assert!(with(&|spec| spec.name = "../x".to_owned()));
    assert!(with(&|spec| spec.environment = String::new()));
    assert!(with(&|spec| spec.domains = vec!["a.example,email:x".to_owned()]));
    assert!(with(&|spec| spec.domains = vec!["--x".to_owned()]));
    assert!(with(&|spec| spec.hsts = "x\"; y".to_owned()));
    assert!(Place::load(&host, Path::new("/etc/passwd")).is_err());
}
