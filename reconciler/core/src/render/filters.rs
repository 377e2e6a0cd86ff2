//! The filters, tests and functions a template may use. There are no others.
//!
//! Every filter sees the true value, never a stand-in. Filters refuse secrets and captured blocks, but for those that are listed as
//! able to carry them, because a filter that works on a stand-in would give a wrong answer without a word.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters, functions, tests};

use super::Encoding;
use super::session::{Session, VALUE, holds_token};

/// The session as filters share it.
pub(super) type Shared = Arc<Mutex<Session>>;

/// Returns the session. A panic elsewhere cannot leave it half-changed in a way that matters: a new rendering starts it anew.
pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, Session> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Widest `indent`.
const INDENT: usize = 100;

fn guarded(environment: &mut Environment<'static>, shared: &Shared, name: &'static str, inner: Value) {
    let shared = Arc::clone(shared);
    environment.add_filter(name, move |state: &mut State<'_, '_>, arguments: Rest<Value>| {
        for argument in arguments.iter() {
            let mut session = lock(&shared);
            session.charge_value(argument)?;
            if holds_token(argument) {
                return Err(session.refuse(
                    "secret-use",
                    format!("the filter `{name}` cannot work on a secret or on a block that holds values"),
                    "apply it to the values before they are put together; secrets allow b64encode, urlencode, json, quote",
                ));
            }
        }
        let result = inner.call(state, &arguments)?;
        lock(&shared).charge_value(&result)?;
        Ok(result)
    });
}

/// Like [`guarded`], but for filters that change nothing inside a text: a captured block stays one.
fn around(
    environment: &mut Environment<'static>,
    shared: &Shared,
    name: &'static str,
    work: fn(&str, usize) -> String,
) {
    let shared = Arc::clone(shared);
    environment.add_filter(name, move |value: Value, width: Option<usize>| -> Result<Value, Error> {
        let mut session = lock(&shared);
        session.charge_value(&value)?;
        let Some(text) = value.as_str() else {
            let message = format!("the filter `{name}` works on text, this is {}", value.kind());
            return Err(session.refuse("template-filter", message, ""));
        };
        if !value.is_safe() && holds_token(&value) {
            let message = format!("the filter `{name}` cannot work on a secret");
            return Err(session.refuse("secret-use", message, "apply it to the values before they are put together"));
        }
        let width = width.unwrap_or(4);
        if width > INDENT {
            return Err(session.refuse("template-limit", format!("`{name}` by more than {INDENT}"), ""));
        }
        let out = work(text, width);
        let out = if value.is_safe() { Value::from_safe_string(out) } else { Value::from(out) };
        session.charge_value(&out)?;
        Ok(out)
    });
}

fn indent(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if index > 0 && line != "\n" && line != "\r\n" {
            out.extend(std::iter::repeat_n(' ', width));
        }
        out.push_str(line);
    }
    out
}

fn join(items: &Value, separator: Option<&str>, session: &mut Session) -> Result<Value, Error> {
    session.charge_value(items)?;
    if holds_token(items) {
        return Err(session.refuse(
            "secret-use",
            "the filter `join` cannot work on a secret",
            "concatenate it with `~`",
        ));
    }
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            out.push_str(separator.unwrap_or_default());
        }
        match item.as_str() {
            Some(text) => out.push_str(text),
            None if item.kind() == ValueKind::Number => out.push_str(&item.to_string()),
            None if item.kind() == ValueKind::Bool => out.push_str(if item.is_true() { "true" } else { "false" }),
            None => {
                let message = format!("the filter `join` found {} in the list", item.kind());
                return Err(session.refuse("template-filter", message, "join texts and numbers only"));
            }
        }
        if out.len() > VALUE {
            break;
        }
    }
    let out = Value::from(out);
    session.charge_value(&out)?;
    Ok(out)
}

fn replace(text: &Value, from: &str, to: &str, session: &mut Session) -> Result<Value, Error> {
    session.charge_value(text)?;
    if holds_token(text) {
        let hint = "apply it to the values before they are put together";
        return Err(session.refuse("secret-use", "the filter `replace` cannot work on a secret", hint));
    }
    let Some(text) = text.as_str() else {
        return Err(session.refuse("template-filter", "the filter `replace` works on text", ""));
    };
    let size = text.matches(from).count().saturating_mul(to.len());
    if size > VALUE {
        return Err(session.refuse("template-limit", "`replace` makes too large a text", ""));
    }
    let out = Value::from(text.replace(from, to));
    session.charge_value(&out)?;
    Ok(out)
}

fn to_json(value: &Value, indent: Option<usize>, session: &mut Session) -> Result<Value, Error> {
    session.charge_value(value)?;
    if holds_token(value) {
        let hint = "print it with the filter `quote`, inside a JSON text with `json`";
        return Err(session.refuse("secret-use", "the filter `tojson` cannot work on a secret", hint));
    }
    let fail = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let text = match indent {
        None => serde_json::to_string(value).map_err(fail)?,
        Some(_) => serde_json::to_string_pretty(value).map_err(fail)?,
    };
    let out = Value::from(text);
    session.charge_value(&out)?;
    Ok(out)
}

fn quote(value: &Value, session: &mut Session) -> Result<Value, Error> {
    let inside = session.encode(value, Encoding::Json)?;
    Ok(match session.tainted(&inside)? {
        None => Value::from(format!("\"{inside}\"")),
        Some(mut parts) => {
            parts.insert(0, Part::Plain("\"".to_owned()));
            parts.push(Part::Plain("\"".to_owned()));
            session.object(Part::Joined { parts, encodings: Vec::new() })
        }
    })
}

use super::Part;

/// Registers everything.
pub(super) fn register(environment: &mut Environment<'static>, shared: &Shared) {
    macro_rules! plain {
        ($($name:literal => $function:path),* $(,)?) => {
            $( guarded(environment, shared, $name, Value::from_function($function)); )*
        };
    }
    plain! {
        "abs" => filters::abs, "bool" => filters::bool, "capitalize" => filters::capitalize, "count" => filters::length,
        "dictsort" => filters::dictsort, "first" => filters::first, "float" => filters::float, "int" => filters::int,
        "items" => filters::items, "last" => filters::last, "length" => filters::length, "lines" => filters::lines,
        "list" => filters::list, "lower" => filters::lower, "map" => filters::map, "max" => filters::max,
        "min" => filters::min, "reject" => filters::reject, "rejectattr" => filters::rejectattr,
        "reverse" => filters::reverse, "round" => filters::round, "select" => filters::select,
        "selectattr" => filters::selectattr, "sort" => filters::sort, "split" => filters::split,
        "string" => filters::string, "sum" => filters::sum, "title" => filters::title, "unique" => filters::unique,
        "upper" => filters::upper,
    }
    around(environment, shared, "indent", indent);
    around(environment, shared, "trim", |text, _| text.trim().to_owned());
    // These hand a value on as it is, so that a secret may have a default.
    environment.add_filter("default", filters::default);
    environment.add_filter("d", filters::default);

    let session = Arc::clone(shared);
    environment.add_filter("join", move |items: Value, separator: Option<String>| {
        join(&items, separator.as_deref(), &mut lock(&session))
    });
    let session = Arc::clone(shared);
    environment.add_filter("replace", move |text: Value, from: String, to: String| {
        replace(&text, &from, &to, &mut lock(&session))
    });
    let session = Arc::clone(shared);
    environment.add_filter("tojson", move |value: Value, indent: Option<usize>, named: Kwargs| {
        let indent = match indent {
            Some(indent) => Some(indent),
            None => named.get("indent")?,
        };
        named.assert_all_used()?;
        if value.is_undefined() {
            // `null` would hide a name that is misspelt: printing it is the error that names it.
            return Ok(value);
        }
        to_json(&value, indent, &mut lock(&session))
    });
    for (name, encoding) in [("b64encode", Encoding::Base64), ("urlencode", Encoding::Url), ("json", Encoding::Json)] {
        let session = Arc::clone(shared);
        environment.add_filter(name, move |value: Value| lock(&session).encode(&value, encoding));
    }
    let session = Arc::clone(shared);
    environment.add_filter("quote", move |value: Value| quote(&value, &mut lock(&session)));

    // The scanner's own, see there.
    let session = Arc::clone(shared);
    environment.add_filter("hf_at", move |value: Value, place: usize| -> Result<Value, Error> {
        if value.is_undefined() {
            return Ok(value);
        }
        let mut session = lock(&session);
        session.charge_value(&value)?;
        session.print(&value, place).map(Value::from_safe_string)
    });
    let session = Arc::clone(shared);
    environment.add_filter("hf_cap", move |value: Value| -> Result<Value, Error> {
        lock(&session).charge_value(&value)?;
        Ok(value)
    });
    let session = Arc::clone(shared);
    environment.add_filter("hf_number", move |value: Value| -> Result<Value, Error> {
        if value.is_number() {
            return Ok(value);
        }
        let message = format!("only numbers can be multiplied, this is {}", value.kind());
        Err(lock(&session).refuse("template-error", message, ""))
    });
    let session = Arc::clone(shared);
    environment.add_filter("hf_mark", move |place: usize| -> Result<Value, Error> {
        let mut session = lock(&session);
        let literal = session.places.get(place).map_or(0, |place| place.literal);
        session.charge_output(literal)?;
        Ok(Value::from_safe_string(super::token::token(super::token::TokenKind::Place, place)))
    });

    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("float", tests::is_float);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("even", tests::is_even);
    environment.add_test("divisibleby", tests::is_divisibleby);
    for (name, test) in [
        ("startingwith", (|text, with| text.starts_with(with)) as fn(&str, &str) -> bool),
        ("endingwith", |text, with| text.ends_with(with)),
    ] {
        let session = Arc::clone(shared);
        environment.add_test(name, move |value: &Value, with: &str| -> Result<bool, Error> {
            match value.as_str() {
                Some(text) if !holds_token(value) => Ok(test(text, with)),
                _ => Err(lock(&session).refuse("secret-use", format!("`is {name}` works on plain text only"), "")),
            }
        });
    }
    for (name, test) in
        [("eq", tests::is_eq as fn(&Value, &Value) -> bool), ("equalto", tests::is_eq), ("ne", tests::is_ne)]
    {
        let session = Arc::clone(shared);
        environment.add_test(name, move |value: &Value, other: &Value| -> Result<bool, Error> {
            if holds_token(value) || holds_token(other) {
                return Err(lock(&session).refuse("secret-use", format!("`is {name}` cannot compare a secret"), ""));
            }
            Ok(test(value, other))
        });
    }
    environment.add_function("range", functions::range);
}
