use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::{FileFormat, SealedValue, Variable};
use crate::diag::{Diagnostics, Origin};
use crate::secret::{Secret, SecretRef};

fn origin(line: u32) -> Origin {
    Origin { file: "environments/test/app.yaml".to_owned(), line, column: 3 }
}

pub(super) fn scope(vars: &serde_json::Value) -> Arc<Scope> {
    let mut scope = Scope::new();
    scope.text(&["release"], "v4.0.0", &origin(2));
    scope.number(&["port", "api"], 8101, &origin(9));
    scope.map(&["vars"]);
    for (index, (name, value)) in vars.as_object().cloned().unwrap_or_default().into_iter().enumerate() {
        let mut inner = BTreeMap::new();
        places(&value, String::new(), &mut inner, 100 + index as u32 * 10);
        scope.variable(&name, &Variable { value, origin: origin(20 + index as u32), inner });
    }
    for path in ["password", "api.token"] {
        let secret = SecretRef {
            file: "environments/test/secrets.sops.yaml".to_owned(),
            path: path.split('.').map(str::to_owned).collect(),
            fingerprint: "00112233445566aa".to_owned(),
        };
        scope.secret(&SealedValue { secret, generator: None, protected: false, origin: origin(60) });
    }
    Arc::new(scope)
}

fn places(value: &serde_json::Value, path: String, out: &mut BTreeMap<String, Origin>, line: u32) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| places(value, join(key), out, line + 1)),
        serde_json::Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(i, value)| places(value, join(&i.to_string()), out, line + 1 + i as u32));
        }
        _ => {
            if !path.is_empty() {
                out.insert(path, origin(line));
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads well with json!")]
pub(super) fn render(template: &str, format: FileFormat, vars: serde_json::Value) -> Result<Content, Diagnostics> {
    let templates = BTreeMap::from([("templates/t.j2".to_owned(), template.to_owned())]);
    Engine::new(&templates).file("templates/t.j2", &origin(1), &scope(&vars), format)
}

fn text(template: &str, vars: serde_json::Value) -> String {
    render(template, FileFormat::Plain, vars).unwrap().shown()
}

fn problem(template: &str, vars: serde_json::Value) -> (String, String, String) {
    let list = render(template, FileFormat::Plain, vars).unwrap_err();
    let first = &list.0[0];
    (first.code.clone(), first.origin.to_string(), first.message.clone())
}

fn revealed(content: &Content) -> String {
    let value = |secret: &SecretRef| -> Result<Secret<String>, std::convert::Infallible> {
        Ok(Secret::new(if secret.name() == "password" { "pa$s \"w\\ord%\n".to_owned() } else { "tok/en+=".to_owned() }))
    };
    String::from_utf8(content.reveal(&mut { value }).unwrap().bytes.expose().clone()).unwrap()
}

#[test]
fn values_numbers_and_truths_are_printed_as_they_are() {
    let vars = json!({"name": "a b", "flag": true, "ratio": 0.5, "list": ["x", "y"]});
    let out = text("{{ vars.name }}|{{ port.api }}|{{ vars.flag }}|{{ vars.ratio }}|{{ vars.list|join(',') }}\n", vars);
    assert_eq!(out, "a b|8101|true|0.5|x,y\n");
}

#[test]
fn numbers_can_be_calculated_with() {
    assert_eq!(text("{{ 2 * 3 + port.api // 2 ** 2 - -1 }}", json!({})), "2032");
    assert_eq!(text("{{ vars.n * 1.5 }} {{ 7 % 4 }}", json!({"n": 3})), "4.5 3");
}

#[test]
fn blocks_leave_no_lines_behind_and_the_last_line_break_stays() {
    let out = text("a\n  {% for x in vars.l %}\n- {{ x }}\n  {% endfor %}\nz\n", json!({"l": [1, 2]}));
    assert_eq!(out, "a\n- 1\n- 2\nz\n");
    assert_eq!(text("a\n\n   {%- if true %} b {%- endif %}\n", json!({})), "a b");
}

#[test]
fn macros_and_captured_blocks_keep_template_text_apart_from_values() {
    let template = "{% macro m(x) %}[{{ x }}]{% endmacro %}{% set b %}<{{ vars.v }}>{% endset %}{{ m(vars.v) }}{{ b }}{{ b|indent(2) }}";
    assert_eq!(text(template, json!({"v": "q"})), "[q]<q><q>");
}

#[test]
fn raw_blocks_and_comments_are_left_alone() {
    assert_eq!(text("{% raw %}{{ x }}\n{% endraw %}{# {{ nope }} #}{{ '}}' }}", json!({})), "{{ x }}\n}}");
}

#[test]
fn errors_have_the_users_place() {
    let (code, place, message) = problem("ok\n  {{ vars.prot }}\n", json!({}));
    assert_eq!((code.as_str(), place.as_str()), ("undefined-variable", "templates/t.j2:2:6"));
    assert!(message.contains("vars.prot"), "{message}");
    let (code, place, _) = problem("a\nb {{ vars.l }}", json!({"l": [1]}));
    assert_eq!((code.as_str(), place.as_str()), ("unprintable-value", "templates/t.j2:2:3"));
    assert_eq!(problem("{{ none }}", json!({})).0, "unprintable-value");
    let (code, place, _) = problem("x\n{% if %}\n", json!({}));
    assert_eq!((code.as_str(), place.split(':').nth(1)), ("template-syntax", Some("2")));
    assert_eq!(problem("{{ 'a'|format }}", json!({})).0, "template-filter");
    assert_eq!(problem("{{ debug() }}", json!({})).0, "template-function");
    assert_eq!(problem("{{ 'a'.upper() }}", json!({})).0, "template-function");
    assert_eq!(problem("{% include 'nope.j2' %}", json!({})).0, "template-missing");
    assert_eq!(problem("{% include '../../etc/passwd' %}", json!({})).0, "template-missing");
}

#[test]
fn every_value_knows_its_place() {
    let vars = json!({"name": "n", "servers": [{"host": "a"}, {"host": "b"}]});
    let template =
        "{% set n = vars.name %}\n{% for s in vars.servers %}\n{{ s.host }} {{ n|upper }}\n{% endfor %}\n{{ 'lit' }}";
    let content = render(template, FileFormat::Plain, vars).unwrap();
    let shown: Vec<String> = content
        .provenance
        .iter()
        .map(|p| format!("{} {} {} {}", p.output_line, p.field, p.value.line, p.template))
        .collect();
    assert_eq!(
        shown,
        [
            "1 vars.servers.0.host 112 templates/t.j2:3:1",
            "1 vars.name 20 templates/t.j2:3:14",
            "2 vars.servers.1.host 113 templates/t.j2:3:1",
            "2 vars.name 20 templates/t.j2:3:14",
            "3 template 5 templates/t.j2:5:1",
        ]
    );
}

#[test]
fn cap_32_secrets_are_carried_through_what_is_allowed() {
    let template = "{{ secrets.password }}|{{ ('u:' ~ secrets.password)|b64encode }}|{{ secrets.api.token|urlencode }}|{{ secrets.password|quote }}|{{ 'x' ~ secrets.password|json ~ 'y' }}";
    let content = render(template, FileFormat::Plain, json!({})).unwrap();
    assert!(content.has_secret() && content.as_text().is_none());
    assert!(!content.shown().contains("pa$s"));
    assert_eq!(
        revealed(&content),
        "pa$s \"w\\ord%\n|dTpwYSRzICJ3XG9yZCUK|tok%2Fen%2B%3D|\"pa$s \\\"w\\\\ord%\\n\"|xpa$s \\\"w\\\\ord%\\ny"
    );
}

#[test]
fn secrets_refuse_everything_else() {
    for template in [
        "{{ secrets.password|upper }}",
        "{{ secrets.password|length }}",
        "{{ secrets.password == 'x' }}",
        "{% if 'x' == secrets.password %}{% endif %}",
        "{% if secrets.password in ['a'] %}{% endif %}",
        "{{ [secrets.password]|join }}",
        "{{ ('a' ~ secrets.password)|replace('a', 'b') }}",
        "{{ {'a': secrets.password}|tojson }}",
        "{% set x = 'a' ~ secrets.password %}{{ x|upper }}",
        "{% set x = secrets.password %}{{ x is eq('a') }}",
        "{{ secrets.password + 'a' }}",
        "{% filter upper %}{{ secrets.password }}{% endfilter %}",
        "{{ secrets.password|sort }}",
        "{{ secrets.password|list }}",
        "{{ [secrets.password, 'a']|sort|first }}",
    ] {
        let (code, place, message) = problem(template, json!({}));
        assert!(matches!(code.as_str(), "secret-use" | "template-error"), "{template}: {code} {message}");
        assert!(place.starts_with("templates/t.j2:1"), "{template}: {place}");
    }
    assert_eq!(problem("{{ ('abc' ~ secrets.password)[2:6] }}", json!({})).0, "damaged-value");
    assert_eq!(problem("{{ secrets.nope }}", json!({})).0, "undefined-variable");
    assert_eq!(text("{% if secrets.password %}yes{% endif %}", json!({})), "yes");
}

#[test]
fn what_has_no_end_ends() {
    let doubled: String = std::iter::once("{% set a = 'x' %}".to_owned())
        .chain((0..60).map(|_| "{% set a = a ~ a %}".to_owned()))
        .collect();
    let nested: String = "{% if true %}".repeat(5500) + &"{% endif %}".repeat(5500);
    let lists: String = std::iter::once("{% set a = [1] %}".to_owned())
        .chain((0..60).map(|_| "{% set a = [a, a] %}".to_owned()))
        .chain(["{{ a|tojson }}".to_owned()])
        .collect();
    let long = "x".repeat(2000);
    let templates = [
        "{% for i in range(1000000000) %}x{% endfor %}".to_owned(),
        "{{ range(1000000000)|length }}".to_owned(),
        "{{ 'A' * 200000000 }}".to_owned(),
        "{{ 'A' * 90000000 }}".to_owned(),
        "{{ 90000000 * 'A' }}".to_owned(),
        "{{ [1] * 90000000 }}".to_owned(),
        "{{ 90000000 * [1] }}".to_owned(),
        doubled,
        nested,
        lists,
        format!("{{% for i in range(90000) %}}{long}{{% endfor %}}"),
        format!("{{% set c %}}{{% for i in range(90000) %}}{long}{{% endfor %}}{{% endset %}}{{{{ c }}}}"),
        format!("{{% for i in range(90000) %}}{{% raw %}}{long}{{% endraw %}}{{% endfor %}}"),
        format!("{{% for i in range(90000) %}}{}{{% endfor %}}", " ".repeat(5000)),
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('aaaaaaaa') }}".to_owned(),
        "{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m('a') }}".to_owned(),
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".to_owned(),
        "{% include 't.j2' %}".to_owned(),
        "{% set x = '%0999999999d'|format(1) %}".to_owned(),
        "{{ 'a'|indent(1000000000) }}".to_owned(),
        "{{ ('a' * 200000)|replace('a', 'b' * 200000) }}".to_owned(),
        format!("{{{{ {} }}}}", "(".repeat(5000)),
        format!("{{{{ {}1 }}}}", "1 + ".repeat(5000)),
        format!("{{{{ {}1 }}}}", "-".repeat(5000)),
        "{{ range(90000)|list|tojson }}".to_owned(),
        "{% set ns = namespace(a='x') %}".to_owned(),
        format!("{{{{ {} }}}}", vec!["'a'"; 300].join(" ~ ")),
    ];
    for template in templates {
        // A small stack, as an async worker has.
        let start = template.chars().take(60).collect::<String>();
        let worker = std::thread::Builder::new().stack_size(1 << 20);
        let result = worker.spawn(move || render(&template, FileFormat::Plain, json!({})).map(|_| ())).unwrap().join();
        assert!(result.expect("no panic").is_err(), "{start}");
    }
}

#[test]
fn reserved_characters_are_refused() {
    assert_eq!(problem("a\u{10FF01}", json!({})).0, "reserved-character");
    assert_eq!(problem("{{ vars.a }}", json!({"a": {"b": "\u{10FF03}"}})).0, "reserved-character");
    assert_eq!(problem("{{ '\\uDBFF\\uDF01' }}", json!({})).0, "damaged-value");
    assert_eq!(problem("{{ 1|hf_at(0) }}", json!({})).0, "template-name");
}

#[test]
fn what_a_template_names_is_read_and_nothing_else_is() {
    let templates = |first: &str| -> BTreeMap<String, String> {
        let others = [
            ("a", "a {% include 'b.j2' %}"),
            ("b", "b {{ host.name }}"),
            ("c", "c"),
            ("m", "{% macro m() %}m{% endmacro %}"),
        ];
        let file = |(name, text): (&str, &str)| (format!("templates/{name}.j2"), text.to_owned());
        others.into_iter().chain([("t", first)]).map(file).collect()
    };
    let cases: [(&str, &str, &[&str], bool); 6] = [
        ("include c.j2;", "include c.j2;", &["t"], false),
        ("{% include 'c.j2' %}", "c", &["c", "t"], false),
        ("{% include 'a.j2' ignore missing %}", "a b h", &["a", "b", "t"], true),
        ("{% import 'm.j2' as m %}{{ m.m() }}", "m", &["m", "t"], false),
        ("{% from \"m.j2\" import m %}{{ m() }}", "m", &["m", "t"], false),
        ("{% include vars.which ~ '.j2' %}", "c", &["a", "b", "c", "m", "t"], true),
    ];
    for (template, expected, read, elsewhere) in cases {
        let templates = templates(template);
        let mut engine = Engine::new(&templates);
        assert_eq!(engine.depends_on_host("templates/t.j2"), elsewhere, "{template}");
        let mut scope = Scope::new();
        scope.map(&["host"]);
        scope.text(&["host", "name"], "h", &origin(2));
        scope.map(&["vars"]);
        scope.variable("which", &Variable { value: json!("c"), origin: origin(3), inner: BTreeMap::new() });
        let content = engine.file("templates/t.j2", &origin(1), &Arc::new(scope), FileFormat::Plain).unwrap();
        assert_eq!(content.shown(), expected, "{template}");
        let used: Vec<String> = engine.used("templates/t.j2", &origin(1)).into_iter().collect();
        assert_eq!(used, read.iter().map(|name| format!("templates/{name}.j2")).collect::<Vec<_>>(), "{template}");
    }
}
