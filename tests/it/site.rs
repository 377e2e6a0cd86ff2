//! The shipped site of nps, rendered with and without a certificate.

use holdfast_core::config::{SourceTree, load};
use holdfast_core::desired::{DesiredState, resolve};

const TEMPLATE: &str = include_str!("../../templates/nginx/nps.conf.j2");

fn desired(certificate: bool) -> DesiredState {
    let (declared, named) = if certificate {
        ("certificates:\n  nps: { domains: [nps.example.com], email: ops@example.com }\n", "    certificate: nps\n")
    } else {
        ("", "")
    };
    let app = format!(
        "app: nps\nrelease: v1\nvariables: {{ domain: nps.example.com, aliases: [www.nps.example.com], upstream: nps }}\n\
         components:\n  web:\n    systemd: systemd/web.service.j2\n    strategy: rolling\n    ports: {{ api: 8101, site: 8102 }}\n  \
         edge:\n    nginx: nginx/nps.conf.j2\n{named}    upstreams: {{ nps_api: web.api, nps_site: web.site }}\n"
    );
    let environment = format!("hosts: [web1]\n{declared}");
    let files = [
        ("holdfast.yaml", "format: 1\n"),
        ("inventory/hosts.yaml", "hosts:\n  web1: { address: local }\n"),
        ("environments/prod/environment.yaml", &environment),
        ("environments/prod/nps.yaml", &app),
        ("templates/nginx/nps.conf.j2", TEMPLATE),
        ("templates/systemd/web.service.j2", "[Service]\nExecStart=/bin/true\n"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
    let (config, findings) = load(&SourceTree { files, problems: Vec::new() });
    let config = config.unwrap_or_else(|| panic!("{findings:#?}"));
    resolve(&config, &"prod".parse().unwrap(), &"0".repeat(40).parse().unwrap()).unwrap()
}

fn site(desired: &DesiredState) -> String {
    let app = desired.hosts.values().next().unwrap().apps.values().next().unwrap();
    let mut files = app.components.iter().flat_map(|component| &component.body.artifacts(None).files);
    let (_, file) = files.find(|(path, _)| path.starts_with("/etc/nginx/")).unwrap();
    file.content.as_text().unwrap()
}

/// Returns the blocks of a directive that begins with these words.
fn blocks<'t>(text: &'t str, begin: &str) -> Vec<&'t str> {
    text.match_indices(begin)
        .map(|(at, _)| {
            let mut depth = 0;
            let end = text[at..].find(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == '}' && depth == 0
            });
            &text[at..at + end.unwrap()]
        })
        .collect()
}

#[test]
fn cap_40_no_location_takes_the_headers_of_the_server_away_and_each_zone_is_used() {
    for certificate in [false, true] {
        let text = site(&desired(certificate));
        let text: String =
            text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|l| format!("{l}\n")).collect();
        let locations = blocks(&text, "location ");
        assert!(locations.len() >= 7, "{text}");
        assert!(locations.iter().all(|location| !location.contains("add_header")), "{text}");
        for header in ["X-Frame-Options", "X-Content-Type-Options", "X-XSS-Protection", "Referrer-Policy"] {
            assert_eq!(text.matches(&format!("add_header {header} ")).count(), 1, "{header}");
        }
        for zone in text.match_indices("limit_req_zone").map(|(at, _)| &text[at..]) {
            let name = zone.split("zone=").nth(1).unwrap().split(':').next().unwrap();
            assert!(locations.iter().any(|location| location.contains(&format!("limit_req zone={name} "))), "{name}");
        }
        // An image below /api/ is the API's: no regular expression is looked at.
        assert_eq!(text.matches("location ^~ /api/ {").count(), 1);
        assert_eq!(
            text.matches("server_name nps.example.com www.nps.example.com;").count(),
            1 + usize::from(certificate)
        );
        assert_eq!(text.contains("return 301 https://$host$request_uri;"), certificate);
        assert_eq!(text.contains("ssl_session_tickets off;"), certificate);
        assert_eq!(text.contains("hsts.conf"), certificate);
        assert!(!text.contains("Strict-Transport-Security \""), "the header is the host's to send");
    }
}

#[test]
fn cap_44_what_a_site_names_comes_before_it() {
    let desired = desired(true);
    let app = desired.hosts.values().next().unwrap().apps.values().next().unwrap();
    let names: Vec<&str> = app.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["web", "edge-certificate", "edge"]);
    let own = &app.components[1];
    let (declaration, spec) = own.certificates.iter().next().unwrap();
    assert_eq!(declaration, "/var/lib/holdfast/apps/prod/nps/edge-certificate/nps.json");
    let files = &own.body.artifacts(None).files;
    let written: holdfast_protocol::CertificateSpec =
        serde_json::from_str(&files[declaration].content.as_text().unwrap()).unwrap();
    assert_eq!(written, *spec);
    let timer = files["/etc/systemd/system/holdfast-certificate-prod-nps.timer"].content.as_text().unwrap();
    assert!(timer.contains("\nOnActiveSec=1s\n") && timer.contains("\nPersistent=true\n"), "{timer}");
    assert!(site(&desired).contains("/var/lib/holdfast/certificates/prod/nps/live/chain.pem"));
}
