//! Values through each destination and back through a reader written after that destination's own source.

use proptest::prelude::*;
use serde_json::json;

use super::corpus::corpus;
use super::engine_tests::render;
use crate::config::FileFormat;
use crate::secret::{Secret, SecretRef};

/// Text with a secret of that value, and the same with a plain variable: both must be the same bytes.
fn written(format: FileFormat, plain: &str, value: &str) -> Option<String> {
    let content = render(plain, format, json!({"v": value})).ok()?;
    let text = content.as_text().expect("no secret is in it");
    if format != FileFormat::Systemd {
        let secret = plain.replace("vars.v", "secrets.password");
        let content = render(&secret, format, json!({})).expect("a secret's value is not known yet");
        let mut reveal = |_: &SecretRef| Ok::<_, std::convert::Infallible>(Secret::new(value.to_owned()));
        let revealed = content.reveal(&mut reveal).expect("plain and secret are refused alike");
        let mut revealed = String::from_utf8(revealed.bytes.expose().clone()).unwrap();
        if format == FileFormat::Compose {
            let label = |text: &str| text.find("dev.holdfast.digest").map_or(text.len(), |at| at);
            revealed.truncate(label(&revealed));
            assert_eq!(revealed, text[..label(&text)]);
        } else if format == FileFormat::Nginx {
            // A value that is known to be a plain word is written without quotes.
            assert_eq!(nginx_words(&revealed), nginx_words(&text));
        } else {
            assert_eq!(revealed, text);
        }
    }
    Some(text)
}

// ---- readers ----

/// `ngx_conf_read_token`.
fn nginx_words(text: &str) -> Vec<Vec<String>> {
    let bytes = text.as_bytes();
    let (mut directives, mut args, mut at) = (Vec::new(), Vec::new(), 0);
    let blank = |b: u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    while at < bytes.len() {
        match bytes[at] {
            b if blank(b) => at += 1,
            b'#' => at += text[at..].find('\n').unwrap_or(text.len() - at),
            b';' | b'{' | b'}' => {
                directives.push(std::mem::take(&mut args));
                at += 1;
            }
            quote => {
                let quoted = matches!(quote, b'"' | b'\'');
                let start = at + usize::from(quoted);
                at = start;
                loop {
                    assert!(at < bytes.len(), "a word without end");
                    match bytes[at] {
                        b'\\' => at += 2,
                        b if quoted && b == quote => break,
                        b if !quoted && (blank(b) || matches!(b, b';' | b'{')) => break,
                        _ => at += 1,
                    }
                }
                let raw = &text[start..at];
                at += usize::from(quoted);
                assert!(!quoted || at >= bytes.len() || blank(bytes[at]) || matches!(bytes[at], b';' | b'{'));
                let (mut word, mut chars) = (String::new(), raw.chars().peekable());
                while let Some(c) = chars.next() {
                    match (c, chars.peek()) {
                        ('\\', Some('"' | '\'' | '\\')) => word.push(chars.next().unwrap()),
                        ('\\', Some('t')) => (word.push('\t'), chars.next()).0,
                        ('\\', Some('r')) => (word.push('\r'), chars.next()).0,
                        ('\\', Some('n')) => (word.push('\n'), chars.next()).0,
                        _ => word.push(c),
                    }
                }
                args.push(word);
            }
        }
    }
    directives
}

/// `extract_first_word` with `EXTRACT_UNQUOTE | EXTRACT_CUNESCAPE`, then specifiers, then variables for command lines.
fn systemd_words(line: &str, exec: bool) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\\') => {
                begun = true;
                match chars.next().expect("an escape is whole") {
                    'n' => word.push('\n'),
                    'r' => word.push('\r'),
                    't' => word.push('\t'),
                    'x' => {
                        let hex: String = chars.by_ref().take(2).collect();
                        word.push(char::from(u8::from_str_radix(&hex, 16).unwrap()));
                    }
                    c @ ('\\' | '"' | '\'') => word.push(c),
                    other => panic!("an escape systemd does not know: {other}"),
                }
            }
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => (quote, begun) = (Some(c), true),
            (None, ' ' | '\t') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (_, c) => {
                begun = true;
                word.push(c);
            }
        }
    }
    assert_eq!(quote, None);
    if begun {
        words.push(word);
    }
    let single = |word: String, sign: char| {
        let (mut out, mut chars) = (String::new(), word.chars());
        while let Some(c) = chars.next() {
            if c == sign {
                assert_eq!(chars.next(), Some(sign), "a lone {sign} in {word:?}");
            }
            out.push(c);
        }
        out
    };
    words.into_iter().map(|word| single(word, '%')).map(|word| if exec { single(word, '$') } else { word }).collect()
}

/// `parse_env_file_internal`, for one value in double quotes, with `env_value_is_valid`.
fn systemd_env(text: &str) -> Vec<(String, String)> {
    let (mut pairs, mut rest) = (Vec::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = if after.starts_with('"') {
            chars.next();
            loop {
                let (at, c) = chars.next().expect("the quote is closed");
                match c {
                    '"' => break at + 1,
                    '\\' => match chars.next().unwrap().1 {
                        c @ ('"' | '\\' | '`' | '$') => value.push(c),
                        '\n' => {}
                        c => value.extend(['\\', c]),
                    },
                    c => value.push(c),
                }
            }
        } else {
            let end = after.find('\n').unwrap();
            value.push_str(&after[..end]);
            end
        };
        assert!(value.chars().all(|c| c >= ' ' && c != '\u{7F}' || c == '\n' || c == '\t'));
        pairs.push((name.trim().to_owned(), value));
        rest = after[end..].strip_prefix('\n').expect("a line ends after its value");
    }
    assert!(rest.is_empty());
    pairs
}

/// `extractVarValue`, `expandEscapes` and `expandVariables` of compose-go v2, for double quotes.
fn compose_env(text: &str) -> Vec<(String, String)> {
    let (mut pairs, mut rest) = (Vec::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, end) = if let Some(quoted) = after.strip_prefix('"') {
            let (mut chars, mut escaped, mut end) = (String::new(), false, None);
            for (at, c) in quoted.char_indices() {
                if c != '"' {
                    if !escaped && c == '\\' {
                        escaped = true;
                        continue;
                    }
                    if escaped {
                        escaped = false;
                        chars.push('\\');
                    }
                    chars.push(c);
                } else if escaped {
                    escaped = false;
                    chars.push('"');
                } else {
                    end = Some(at + 2);
                    break;
                }
            }
            let (mut expanded, mut iter) = (String::new(), chars.chars().peekable());
            while let Some(c) = iter.next() {
                match (c, iter.peek()) {
                    ('\\', Some('$')) => expanded.push_str((iter.next(), "$$").1),
                    ('\\', Some('n')) => expanded.push((iter.next(), '\n').1),
                    ('\\', Some('r')) => expanded.push((iter.next(), '\r').1),
                    ('\\', Some('t')) => expanded.push((iter.next(), '\t').1),
                    ('\\', Some('\\')) => expanded.push((iter.next(), '\\').1),
                    ('\\', Some(other)) => panic!("compose would read \\{other} in its own way"),
                    _ => expanded.push(c),
                }
            }
            (undollar(&expanded), end.expect("the quote is closed"))
        } else {
            let end = after.find('\n').unwrap();
            (after[..end].to_owned(), end)
        };
        pairs.push((name.to_owned(), value));
        rest = after[end..].strip_prefix('\n').expect("a line ends after its value");
    }
    assert!(rest.is_empty());
    pairs
}

/// Compose's interpolation when no `$` may be left to it.
fn undollar(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        if c == '$' {
            assert_eq!(chars.next(), Some('$'), "a lone $ in {text:?}");
        }
        out.push(c);
    }
    out
}

// ---- round trips ----

fn compose_round_trip(value: &str) {
    let template = "services:\n  a:\n    image: i\n    environment:\n      V: {{ vars.v }}\n      W: 'x{{ vars.v }}y'\n      B: |\n        <{{ vars.v }}>\n    command: [{{ vars.v }}, \"--x={{ vars.v }}\"]\n";
    let text = written(FileFormat::Compose, template, value).expect("compose carries everything but NUL");
    let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let service = &read["services"]["a"];
    let at =
        |value: &serde_json::Value| undollar(value.as_str().unwrap_or_else(|| panic!("no text: {value} in\n{text}")));
    assert_eq!(at(&service["environment"]["V"]), value);
    assert_eq!(at(&service["environment"]["W"]), format!("x{value}y"));
    assert_eq!(at(&service["environment"]["B"]), format!("<{value}>\n"));
    assert_eq!(at(&service["command"][0]), value);
    assert_eq!(at(&service["command"][1]), format!("--x={value}"));
    assert_eq!(read["services"].as_object().unwrap().len(), 1);
}

fn nginx_round_trip(value: &str) -> bool {
    let template = "location / { # note\n  add_header X {{ vars.v }} always;\n  return 200 \"a\\\"b$uri{{ vars.v }}\";\n  set $x pre{{ vars.v }};\n}\n";
    let Some(text) = written(FileFormat::Nginx, template, value) else { return false };
    let words = nginx_words(&text);
    let args: Vec<Vec<String>> = vec![
        vec!["location".to_owned(), "/".to_owned()],
        vec!["add_header".to_owned(), "X".to_owned(), value.to_owned(), "always".to_owned()],
        vec!["return".to_owned(), "200".to_owned(), format!("a\"b$uri{value}")],
        vec!["set".to_owned(), "$x".to_owned(), format!("pre{value}")],
        vec![],
    ];
    assert_eq!(words, args, "{text}");
    true
}

fn unit_round_trip(value: &str) -> bool {
    let exec = "[Service]\nExecStart=/bin/echo {{ vars.v }} --x={{ vars.v }} 'a b'{{ vars.v }}\n";
    let text = written(FileFormat::Systemd, exec, value).expect("a command carries everything but NUL");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let words = systemd_words(lines[2].strip_prefix("ExecStart=").unwrap(), true);
    assert_eq!(words, ["/bin/echo", value, &format!("--x={value}"), &format!("a b{value}")], "{text}");

    let environment = "[Service]\nEnvironment=V={{ vars.v }} \"W=x {{ vars.v }}\"\nEnvironment=Z=1\n";
    let Some(text) = written(FileFormat::Systemd, environment, value) else { return false };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    let words = systemd_words(lines[2].strip_prefix("Environment=").unwrap(), false);
    assert_eq!(words, [format!("V={value}"), format!("W=x {value}")], "{text}");
    true
}

fn env_round_trips(value: &str) -> bool {
    let template = "# note\nA=1\nV={{ vars.v }}\nW=\"x{{ vars.v }}\"\nX='q{{ vars.v }}'\nZ=end\n";
    let want: Vec<(String, String)> =
        [("A", "1"), ("V", value), ("W", &format!("x{value}")), ("X", &format!("q{value}")), ("Z", "end")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    let text = written(FileFormat::ComposeEnv, template, value).expect("compose carries everything but NUL");
    assert_eq!(compose_env(text.strip_prefix("# note\n").unwrap()), want, "{text}");
    let Some(text) = written(FileFormat::SystemdEnv, template, value) else { return false };
    assert_eq!(systemd_env(text.strip_prefix("# note\n").unwrap()), want, "{text}");
    true
}

#[test]
fn the_corpus_lands_or_is_refused_as_it_says() {
    for nasty in corpus() {
        compose_round_trip(nasty.value);
        assert_eq!(nginx_round_trip(nasty.value), nasty.nginx, "{}", nasty.name);
        assert_eq!(unit_round_trip(nasty.value), nasty.systemd_environment, "{}", nasty.name);
        assert_eq!(env_round_trips(nasty.value), nasty.systemd_environment, "{}", nasty.name);
        assert_eq!(written(FileFormat::Plain, "{{ vars.v }}", nasty.value).as_deref(), Some(nasty.value));
    }
}

fn values() -> impl Strategy<Value = String> {
    prop_oneof!["[$#%\"'\\\\=;{}\n\r\t é😀:&*!|>@`~<^\\-,.a0]{0,24}", "[^\u{0}\u{10FF00}-\u{10FFFF}]{0,24}",]
}

proptest! {
    #[test]
    fn cap_29_any_value_lands_byte_for_byte(value in values()) {
        compose_round_trip(&value);
        let nginx = nginx_round_trip(&value);
        prop_assert_eq!(nginx, !value.contains('$'));
        let carried = value.chars().all(|c| c >= ' ' && c != '\u{7F}' || c == '\n' || c == '\t');
        prop_assert_eq!(unit_round_trip(&value), carried);
        prop_assert_eq!(env_round_trips(&value), carried);
    }

    #[test]
    fn no_template_makes_it_panic(template in "([a-z:;{}%#\"'\\\\=\\[\\] \n$-]|\\{\\{ vars\\.v \\}\\}|\\{\\{ secrets\\.password \\}\\}|\\{% if vars\\.v %\\}|\\{% endif %\\}){0,40}") {
        for format in [FileFormat::Plain, FileFormat::Compose, FileFormat::Nginx, FileFormat::Systemd, FileFormat::ComposeEnv, FileFormat::SystemdEnv] {
            let _ = render(&template, format, json!({"v": "a$ \"b\n"}));
        }
    }
}

fn problem(format: FileFormat, template: &str, value: &str) -> (String, String) {
    let list = render(template, format, json!({"v": value})).expect_err(template);
    (list.0[0].code.clone(), list.0[0].origin.to_string())
}

#[test]
fn values_have_no_place_in_names_and_comments() {
    for (format, template, value, code, place) in [
        (FileFormat::Nginx, "{{ vars.v }} on;", "gzip", "misplaced-value", "1:1"),
        (FileFormat::Nginx, "a b;\n# {{ vars.v }}\n", "x\ny", "unwritable-value", "2:3"),
        (FileFormat::Nginx, "# {{ secrets.password }}\n", "", "secret-use", "1:3"),
        (FileFormat::Nginx, "a b", "", "nginx-syntax", "1:1"),
        (FileFormat::Nginx, "a b; }", "", "nginx-syntax", "1:1"),
        (FileFormat::Nginx, "a {\n b;\n", "", "nginx-syntax", "2:2"),
        (FileFormat::Nginx, "load_module x;", "", "nginx-directive", "1:1"),
        (FileFormat::Nginx, "a \"b\"c;", "", "nginx-syntax", "1:1"),
        (FileFormat::Systemd, "[{{ vars.v }}]\n", "a]\n[b", "misplaced-value", "1:2"),
        (FileFormat::Systemd, "{{ vars.v }}=x\n", "A B", "misplaced-value", "1:1"),
        (FileFormat::Systemd, "[Unit]\nDescription={{ vars.v }}\n", "a\nb", "unwritable-value", "2:13"),
        (FileFormat::Systemd, "[Unit]\nDescription={{ vars.v }}\n", " a", "unwritable-value", "2:13"),
        (FileFormat::Systemd, "[Unit]\nDescription={{ vars.v }}\n", "a\\", "unwritable-value", "2:13"),
        (FileFormat::Systemd, "[Service]\nReadWritePaths={{ vars.v }}\n", "a\"b", "unwritable-value", "2:16"),
        (FileFormat::Systemd, "[Service]\nEnvironment=A={{ secrets.password }}\n", "", "secret-use", "2:15"),
        (FileFormat::Systemd, "[Service]\nUser={{ secrets.password }}\n", "", "secret-use", "2:6"),
        (FileFormat::Systemd, "[Service]\nnonsense\n", "", "systemd-syntax", "2:1"),
        (FileFormat::ComposeEnv, "{{ vars.v }}=x\n", "A B", "env-syntax", "1:1"),
        (FileFormat::ComposeEnv, "A=$HOME\n", "", "env-syntax", "1:1"),
        (FileFormat::ComposeEnv, "A=\"x{{ vars.v }}\n", "", "env-syntax", "1:1"),
        (FileFormat::ComposeEnv, "A=x'{{ vars.v }}'\n", "", "env-syntax", "1:1"),
        (FileFormat::SystemdEnv, "A={{ vars.v }}\n", "a\rb", "unwritable-value", "1:3"),
        (FileFormat::SystemdEnv, "A.B={{ vars.v }}\n", "a", "env-syntax", "1:1"),
        (FileFormat::SystemdEnv, "no assignment\n", "a", "env-syntax", "1:1"),
    ] {
        let (got, at) = problem(format, template, value);
        assert_eq!((got.as_str(), at.as_str()), (code, format!("templates/t.j2:{place}").as_str()), "{template:?}");
    }
}

#[test]
fn a_unit_keeps_what_is_systemds_own() {
    let template = "[Service]\nExecStart=/bin/a %i $HOME {{ vars.v }} \\\n  \"x %n\" {{ vars.v }}%i$B\nExecStop=:/bin/a {{ vars.v }}\nCPUQuota={{ vars.q }}\nDescription=100%% {{ vars.q }} \"q\"\n";
    let content = render(template, FileFormat::Systemd, json!({"v": "a$ %", "q": "50%"})).unwrap().shown();
    let want = "# Managed by Holdfast. Changes made here are undone.\n[Service]\nExecStart=/bin/a %i $HOME \"a$$ %%\" \\\n  \"x %n\" \"a$$ %%%i$B\"\nExecStop=:/bin/a \"a$ %%\"\nCPUQuota=50%\nDescription=100%% 50%% \"q\"\n";
    assert_eq!(content, want);
}

#[test]
fn cap_20_compose_refuses_what_nobody_reviewed() {
    for (template, code, place) in [
        ("include: [oci://x]\nservices: {a: {image: i}}\n", "compose-include", "1:1"),
        ("services:\n  a:\n    build: .\n", "compose-build", "3:5"),
        ("services:\n  a:\n    image: i\n    extends: {file: ../x.yaml, service: b}\n", "compose-extends", "4:5"),
        ("services:\n  a:\n    image: i\n    env_file: ../../etc/passwd\n", "compose-env-file", "4:5"),
        ("services:\n  a:\n    image: i\n    env_file:\n      - path: /etc/shadow\n", "compose-env-file", "5:7"),
        ("services:\n  a:\n    image: i\n    environment:\n      - HOME\n", "compose-environment", "5:7"),
        ("services:\n  a:\n    image: i\n    environment:\n      HOME:\n", "compose-environment", "5:7"),
        ("services:\n  a:\n    image: i\n    depends_on: [b]\n", "compose-depends-on", "4:5"),
        ("version: '3.8'\nservices: {a: {image: i}}\n", "compose-version", "1:1"),
        ("services:\n  a:\n    image: ${IMAGE}\n", "compose-interpolation", "3:5"),
        ("services:\n  a:\n    image: i\n    command: echo $HOME\n", "compose-interpolation", "4:5"),
        ("name: x\nservices: {a: {image: i}}\n", "compose-name", "1:1"),
        ("servces: {}\nservices: {a: {image: i}}\n", "unknown-key", "1:1"),
        ("services: {}\n", "compose-shape", "1:1"),
        ("services:\n  a:\n    restart: always\n", "compose-image", "2:3"),
        ("services:\n  a:\n    image: {{ secrets.password }}\n", "secret-use", "2:3"),
        ("services:\n  a:\n    image: i\n    labels: [dev.holdfast.digest=x]\n", "compose-label", "4:5"),
        ("services:\n  a:\n    image: i\n    ports: !reset []\n", "compose-tag", "4:5"),
        ("services:\n  a:\n    image: i\n    image: j\n", "compose-syntax", "4:5"),
        ("services:\n  a:\n    {{ vars.v }}: i\n    image: j\n", "duplicate-key", "4:5"),
        (
            "services:\n  a:\n    image: i\n    environment: {X: {{ secrets.password }}, {{ secrets.password }}: y}\n",
            "secret-use",
            "4:5",
        ),
        ("secrets: {s: {environment: HOME}}\nservices: {a: {image: i}}\n", "compose-environment", "1:1"),
        ("a: [\n", "compose-syntax", "1:1"),
        ("services: {a: {image: i}}\n---\nservices: {}\n", "compose-syntax", "2:1"),
    ] {
        let (got, at) = problem(FileFormat::Compose, template, "image");
        assert_eq!((got.as_str(), at.as_str()), (code, format!("templates/t.j2:{place}").as_str()), "{template:?}");
    }
}

#[test]
fn cap_17_a_port_for_everybody_has_to_say_so() {
    let template = |port: &str| format!("services:\n  a:\n    image: i\n    ports:\n      - {port}\n");
    for port in ["'80:80'", "8000", "'8000-8010:8000-8010'", "{target: 80, published: '8080'}"] {
        let (code, at) = problem(FileFormat::Compose, &template(port), "");
        assert_eq!((code.as_str(), at.as_str()), ("compose-exposed", "templates/t.j2:5:7"), "{port}");
    }
    for port in ["'127.0.0.1:80:80'", "'0.0.0.0:80:80'", "{target: 80, host_ip: 10.0.0.1, published: '8080'}"] {
        assert!(render(&template(port), FileFormat::Compose, json!({})).is_ok(), "{port}");
    }
}

#[test]
fn cap_22_replicas_that_would_share_a_port_or_a_name_are_refused() {
    for (more, count) in [
        ("ports: ['127.0.0.1:8101:80']", "deploy: {replicas: 3}"),
        ("container_name: a", "deploy: {replicas: 3}"),
        ("container_name: a", "scale: 2"),
    ] {
        let template = format!("services:\n  a:\n    image: i\n    {more}\n    {count}\n");
        assert_eq!(problem(FileFormat::Compose, &template, "").0, "compose-replicas", "{template}");
    }
    let range = "services:\n  a:\n    image: i\n    ports: ['127.0.0.1:8101-8103:80']\n    deploy: {replicas: 3}\n";
    assert!(render(range, FileFormat::Compose, json!({})).is_ok());
}

#[test]
fn compose_keeps_the_look_of_what_is_no_value() {
    let template = "x-base: &base\n  restart: unless-stopped\n  cpus: 0.5\n  environment: {A: '1', B: yes}\nservices:\n  a:\n    <<: *base\n    image: i\n    cpus: {{ vars.n }}\n    mem_limit: '{{ vars.n }}'\n    user: 080\n    privileged: false\n    stop_grace_period: {{ vars.n }}s\n    command: [sh, -c, \"echo $$HOME 5$\"]\n";
    let content = render(template, FileFormat::Compose, json!({"n": 2})).unwrap().shown();
    let (body, _) = content.split_once("    labels:").unwrap();
    let want = "# Managed by Holdfast. Changes made here are undone.\nservices:\n  a:\n    image: i\n    cpus: 2\n    mem_limit: \"2\"\n    user: 080\n    privileged: false\n    stop_grace_period: \"2s\"\n    command:\n      - sh\n      - \"-c\"\n      - \"echo $$HOME 5$$\"\n    restart: unless-stopped\n    environment:\n      A: \"1\"\n      B: yes\n";
    assert_eq!(body, want);
}

#[test]
#[expect(clippy::format_push_string, reason = "a test's own input")]
fn alias_bombs_are_refused() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (one, two) in "abcdefghi".chars().zip("bcdefghij".chars()) {
        bomb.push_str(&format!(
            "{two}: &{two} [*{one}, *{one}, *{one}, *{one}, *{one}, *{one}, *{one}, *{one}, *{one}]\n"
        ));
    }
    assert_eq!(problem(FileFormat::Compose, &bomb, "").0, "compose-syntax");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 20_000].join(", "));
    assert_eq!(problem(FileFormat::Compose, &long, "").0, "compose-syntax");
    let deep = format!("a: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(problem(FileFormat::Compose, &deep, "").0, "compose-syntax");
}
