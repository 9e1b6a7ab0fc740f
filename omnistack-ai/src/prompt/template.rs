//! Renders the templates of prompts with MiniJinja, and limits their cost.
//!
//! Templates have `{{ variable }}`, `{% if %}` and `{% for %}`, and the filters `upper`, `lower`, `trim`, `length`,
//! `first`, `last` and `default`. What joins texts (`~`, `+`, `*`, `set`) is left out, and so is what turns a list that
//! a template writes itself into a text (`in`, filters of lists), and maps (`{`), inside which other rules for the end
//! of a tag apply: with these, a short template could build a text larger than memory before the limit of the output
//! applies.

use std::{borrow::Cow, io};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    value::{Serde, ValueKind},
};
use omnistack_core::http::FieldError;
use serde::Serialize;
use serde_json::Map;

use super::model::{PromptContent, PromptRole};
use crate::chat::Message;

/// Largest text of all messages of a rendering, in bytes.
const MAX_RENDERED_BYTES: usize = 512 * 1024;
/// Largest number of steps of the rendering of all messages (MiniJinja's fuel).
const MAX_STEPS: u64 = 50_000;
/// Largest number of steps, times the bytes that one step can read: all variables, or a text of the template. A step
/// can compare or convert all of them, so that large variables leave fewer steps.
const MAX_STEPS_TIMES_BYTES: u64 = 512 * 1024 * 1024;
/// Largest size of all variables of a rendering as JSON, in bytes.
const MAX_VARIABLES_BYTES: usize = 256 * 1024;
/// Largest number of problems that are reported at once.
const MAX_PROBLEMS: usize = 20;
/// Longest part of an unknown name that is repeated in a problem, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Statements of templates.
const STATEMENTS: &[&str] = &["if", "elif", "else", "endif", "for", "endfor"];

/// Returns the problems of a content besides those that its types find: templates that can't be parsed, variables that
/// are not declared, and names that occur twice.
pub(super) fn problems(content: &PromptContent) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let declared: Vec<&str> = content.variables.iter().map(|variable| variable.name.as_str()).collect();
    for (index, name) in declared.iter().enumerate() {
        if declared[..index].contains(name) {
            problems.push(FieldError::new(format!("variables[{index}].name"), "must be listed once"));
        }
    }
    let defaults = content.variables.iter().map(|variable| &variable.default).collect::<Vec<_>>();
    if json_bytes(&defaults) > MAX_VARIABLES_BYTES {
        let message = format!("must have defaults of at most {} KiB together", MAX_VARIABLES_BYTES / 1024);
        problems.push(FieldError::new("variables", message));
    }
    let environment = environment();
    for (index, message) in content.messages.iter().enumerate() {
        let field = format!("messages[{index}].template");
        if let Err(problem) = check_language(&message.template) {
            problems.push(FieldError::new(field, problem));
            continue;
        }
        match environment.template_from_named_str("template", &message.template) {
            Err(error) => problems.push(FieldError::new(field, explain(&error))),
            Ok(template) => {
                let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
                unknown.retain(|name| !declared.contains(&name.as_str()));
                unknown.sort();
                if let Some(name) = unknown.first() {
                    problems.push(FieldError::new(field, format!("uses `{name}`, which `variables` does not have")));
                }
            }
        }
    }
    if content.output_schema.as_ref().is_some_and(|schema| !schema.is_object()) {
        problems.push(FieldError::new("output_schema", "must be a JSON schema"));
    }
    problems
}

/// Renders the messages of a content. Fails with the problems of the variables, or of a template whose output is too
/// large.
pub(super) fn render(
    content: &PromptContent,
    given: &Map<String, serde_json::Value>,
) -> Result<Vec<Message>, Vec<FieldError>> {
    let mut problems = Vec::new();
    let unknown = given.keys().filter(|name| !content.variables.iter().any(|variable| variable.name == **name));
    for name in unknown.take(MAX_PROBLEMS) {
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        problems.push(FieldError::new(format!("variables.{name}"), "is not a variable of the prompt"));
    }
    let mut values = Map::new();
    for variable in &content.variables {
        let value = given.get(&variable.name).filter(|value| !value.is_null()).unwrap_or(&variable.default);
        if value.is_null() && variable.required {
            problems.push(FieldError::new(format!("variables.{}", variable.name), "is required"));
        }
        values.insert(variable.name.clone(), value.clone());
    }
    let size = json_bytes(&values);
    if size > MAX_VARIABLES_BYTES {
        let message = format!("must have at most {} KiB together", MAX_VARIABLES_BYTES / 1024);
        problems.push(FieldError::new("variables", message));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let longest = content.messages.iter().map(|message| message.template.len()).max().unwrap_or_default();
    let bytes = u64::try_from(size.saturating_add(longest)).unwrap_or(u64::MAX).max(1);
    let mut steps = (MAX_STEPS_TIMES_BYTES / bytes).min(MAX_STEPS);
    let mut environment = environment();
    let values = Value::from(Serde(&values));
    let mut output = BoundedWriter { bytes: Vec::new(), left: MAX_RENDERED_BYTES };
    let mut messages = Vec::with_capacity(content.messages.len());
    for (index, message) in content.messages.iter().enumerate() {
        environment.set_fuel(Some(steps));
        let rendered = render_one(&environment, &message.template, &values, &mut output);
        let (text, left) =
            rendered.map_err(|problem| vec![FieldError::new(format!("messages[{index}].template"), problem)])?;
        steps = left;
        messages.push(match message.role {
            PromptRole::System => Message::system(text),
            PromptRole::User => Message::user(text),
            PromptRole::Assistant => Message::assistant(text),
        });
    }
    Ok(messages)
}

/// Returns the text of a message, and the steps that are left for the next.
fn render_one(
    environment: &Environment<'_>,
    source: &str,
    values: &Value,
    output: &mut BoundedWriter,
) -> Result<(String, u64), String> {
    // Stored contents were checked when they were stored.
    check_language(source)?;
    let template = environment.template_from_named_str("template", source).map_err(|error| explain(&error))?;
    let rendered = template
        .render_captured_to(values.clone(), &mut *output)
        .map(|captured| captured.state().fuel_levels().map_or(0, |(_, left)| left));
    let bytes = std::mem::take(&mut output.bytes);
    match rendered {
        _ if output.left == 0 => Err(format!("renders to more than {} KiB", MAX_RENDERED_BYTES / 1024)),
        Ok(left) => Ok((String::from_utf8(bytes).map_err(|error| error.to_string())?, left)),
        Err(error) => Err(explain(&error)),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_recursion_limit(50);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(write);
    environment.add_filter("upper", upper);
    environment.add_filter("lower", lower);
    environment.add_filter("trim", trim);
    environment.add_filter("length", minijinja::filters::length);
    environment.add_filter("first", minijinja::filters::first);
    environment.add_filter("last", minijinja::filters::last);
    environment.add_filter("default", minijinja::filters::default);
    environment
}

fn upper(value: &Value) -> Result<String, Error> {
    Ok(text_of(value)?.to_uppercase())
}

fn lower(value: &Value) -> Result<String, Error> {
    Ok(text_of(value)?.to_lowercase())
}

fn trim(value: &Value) -> Result<String, Error> {
    Ok(text_of(value)?.trim().to_owned())
}

/// Returns the text that a filter changes. MiniJinja's own filters take lists too, whose texts can be of any size.
fn text_of(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().unwrap_or_default().into()),
        ValueKind::Number | ValueKind::Bool => Ok(value.to_string().into()),
        ValueKind::None => Ok("".into()),
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("a {kind} is not a text"))),
    }
}

/// Returns the size of a value as JSON.
fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

/// Returns a list or a map as JSON. Fails if it is larger than a rendering.
fn json_of(value: &Value) -> Result<String, Error> {
    let problem = || Error::new(ErrorKind::BadSerialization, "the value is too large, or can't be written as JSON");
    let mut writer = BoundedWriter { bytes: Vec::new(), left: MAX_RENDERED_BYTES };
    serde_json::to_writer(&mut writer, value).map_err(|_| problem())?;
    String::from_utf8(writer.bytes).map_err(|_| problem())
}

/// Writes a value: a list or a map as JSON, and nothing for a variable that is not set.
fn write(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::None => return Ok(()),
        ValueKind::Undefined => return Err(Error::new(ErrorKind::UndefinedError, "the value does not exist")),
        ValueKind::String | ValueKind::Number | ValueKind::Bool => value.to_string(),
        ValueKind::Seq | ValueKind::Map => json_of(value)?,
        kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("a {kind} can't be written as text"))),
    };
    output.write_str(&text).map_err(Error::from)
}

/// Describes an error without the name of the template, which is internal.
fn explain(error: &Error) -> String {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "the rendering takes too many steps".into(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("has an error in line {line}: {what}"),
        None => format!("has an error: {what}"),
    }
}

/// Fails for what templates of prompts leave out of MiniJinja's language.
fn check_language(source: &str) -> Result<(), String> {
    let mut rest = source;
    loop {
        let Some(at) = rest.find('{') else { return Ok(()) };
        rest = &rest[at..];
        rest = if let Some(comment) = rest.strip_prefix("{#") {
            comment.find("#}").map_or("", |end| &comment[end + 2..])
        } else if let Some(tag) = rest.strip_prefix("{{") {
            check_tag(tag, "}}", 0)?
        } else if let Some(tag) = rest.strip_prefix("{%") {
            let statement = tag.strip_prefix(['-', '+']).unwrap_or(tag).trim_start();
            let end = statement.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let keyword = &statement[..end.unwrap_or(statement.len())];
            if !STATEMENTS.contains(&keyword) {
                return Err(format!("uses the statement `{keyword}`; it can use `if` and `for`"));
            }
            check_tag(statement, "%}", usize::from(keyword == "for"))?
        } else {
            &rest[1..]
        };
    }
}

/// Checks a tag up to its end, in which the word `in` may occur `ins` times. Returns what follows it.
fn check_tag<'a>(tag: &'a str, end: &str, mut ins: usize) -> Result<&'a str, String> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut quote = None;
    let mut letters = tag.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => _ = letters.next(),
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '~' | '+' | '*') => {
                return Err(format!("uses the operator `{letter}`; pass the value as a variable instead"));
            }
            // The lexer looks for the end of a tag only outside of braces.
            (None, '{') => return Err("uses `{` in a tag; pass the value as a variable instead".to_owned()),
            (None, _) if tag[at..].starts_with(end) => return Ok(&tag[at + end.len()..]),
            (None, _) if is_word(letter) && !tag[..at].ends_with(is_word) => {
                let word = tag[at..].split(|letter: char| !is_word(letter)).next().unwrap_or_default();
                // A number ends where a word begins: `1in` is `1 in`.
                let is_in = word == "in" || (letter.is_ascii_digit() && word.ends_with("in"));
                if is_in && ins == 0 {
                    return Err("uses the operator `in`; pass the result as a variable instead".to_owned());
                }
                ins -= usize::from(is_in);
            }
            (None, _) => {}
        }
    }
    // The parser reports a tag without an end.
    Ok("")
}

/// A writer that fails when its limit is reached.
struct BoundedWriter {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() >= self.left {
            self.left = 0;
            return Err(io::Error::other("too much"));
        }
        self.left -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::prompt::model::{PromptMessage, PromptVariable};

    fn content(template: &str, variables: &[&str]) -> PromptContent {
        let variable = |name: &&str| PromptVariable {
            name: (*name).to_owned(),
            description: String::new(),
            required: false,
            default: serde_json::Value::Null,
        };
        PromptContent {
            messages: vec![PromptMessage { role: PromptRole::User, template: template.into() }],
            variables: variables.iter().map(variable).collect(),
            model: None,
            max_output_tokens: None,
            temperature: None,
            output_schema: None,
        }
    }

    fn rendered(template: &str, variables: &[&str], given: serde_json::Value) -> Result<String, String> {
        let serde_json::Value::Object(given) = given else { panic!("{given}") };
        let messages = render(&content(template, variables), &given);
        messages.map(|messages| messages[0].to_text()).map_err(|problems| problems[0].message.clone())
    }

    #[test]
    fn templates_render_their_variables() {
        for (template, given, expected) in [
            ("Hello {{ name }}!", json!({ "name": "Ada" }), "Hello Ada!"),
            ("{{ name | upper }}", json!({ "name": "Ada" }), "ADA"),
            ("{% if name %}yes{% else %}no{% endif %}", json!({}), "no"),
            ("[{{ name }}]", json!({}), "[]"),
            ("{% for x in name %}{{ loop.index }}={{ x }};{% endfor %}", json!({ "name": ["a", 2] }), "1=a;2=2;"),
            ("{{ name }}", json!({ "name": { "a": [1, "b"] } }), r#"{"a":[1,"b"]}"#),
            ("{{ name }}", json!({ "name": "{{ name }} <b>" }), "{{ name }} <b>"),
            ("{# + #}{{ '~' }} { + } {{ name }}", json!({ "name": 1 }), "~ { + } 1"),
            ("{{ name | trim | lower }}{{ ' in {' }}", json!({ "name": " A " }), "a in {"),
            ("{% for within in name %}{{ within }}{% endfor %}", json!({ "name": [1, 2] }), "12"),
        ] {
            assert_eq!(rendered(template, &["name"], given).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_rejected_when_they_are_stored() {
        for (template, expected) in [
            ("{{ other }}", "uses `other`"),
            ("{{ name", "has an error"),
            ("{% if name %}", "has an error"),
            ("{{ range(9) }}", "uses `range`"),
            ("{% set x = name %}", "the statement `set`"),
            ("{%- macro m() %}{% endmacro %}", "the statement `macro`"),
            ("{{ name ~ name }}", "the operator `~`"),
            ("{{ name * 9 }}", "the operator `*`"),
            ("{% include 'x' %}", "the statement `include`"),
            // The lexer does not end the tag inside the braces.
            ("{{ {'a': {'b': 1}} ~ name ~ name }}", "uses `{`"),
            ("{{ [name, name] in 'a' }}", "the operator `in`"),
            ("{{ 1in[name] }}", "the operator `in`"),
            ("{% for x in name if x in name %}{% endfor %}", "the operator `in`"),
        ] {
            let problems = problems(&content(template, &["name"]));
            assert!(
                problems.first().is_some_and(|problem| problem.message.contains(expected)),
                "{template}: {problems:?}"
            );
        }
        let problems = problems(&content("{{ a }}", &["a", "a"]));
        assert_eq!(problems[0].field, "variables[1].name");
    }

    #[test]
    fn the_cost_of_a_rendering_is_limited() {
        let list: Vec<u32> = (0..60_000).map(|_| 1).collect();
        let endless = rendered(
            "{% for x in name %}{% for y in name %}a{% endfor %}{% endfor %}",
            &["name"],
            json!({ "name": list }),
        );
        assert!(endless.unwrap_err().contains("too many steps"));
        let long = "a".repeat(200 * 1024);
        let large = rendered("{{ name }}{{ name }}{{ name }}", &["name"], json!({ "name": long }));
        assert_eq!(large.unwrap_err(), "renders to more than 512 KiB");
        let larger = rendered("{{ name }}", &["name"], json!({ "name": "a".repeat(300 * 1024) }));
        assert!(larger.unwrap_err().contains("256 KiB"));
    }

    #[test]
    fn a_list_of_the_template_is_not_written_beyond_the_limit() {
        let text = "a".repeat(200 * 1024);
        for (template, expected) in [
            (format!("{{{{ [{}] }}}}", "name, ".repeat(2_000)), "too large"),
            (format!("{{{{ [{}] | upper }}}}", "name, ".repeat(2_000)), "is not a text"),
        ] {
            let error = rendered(&template, &["name"], json!({ "name": text })).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn large_variables_and_many_messages_leave_fewer_steps() {
        let list: Vec<u32> = (0..1_000).collect();
        let each = "{% for x in name %}{% if x == text %}{% endif %}{% endfor %}";
        let small = json!({ "name": list, "text": "a" });
        assert_eq!(rendered(each, &["name", "text"], small).as_deref(), Ok(""));
        let large = json!({ "name": list, "text": "a".repeat(200 * 1024) });
        assert!(rendered(each, &["name", "text"], large).unwrap_err().contains("too many steps"));
        let mut many = content(each, &["name", "text"]);
        many.messages = vec![many.messages[0].clone(); 20];
        let given = json!({ "name": list, "text": "a" });
        let problems = render(&many, given.as_object().unwrap()).unwrap_err();
        assert!(problems[0].message.contains("too many steps"), "{problems:?}");
    }

    #[test]
    fn problems_and_defaults_have_a_bound() {
        let given: Map<String, serde_json::Value> = (0..500).map(|n| ("x".repeat(1_000 + n), json!(1))).collect();
        let problems = render(&content("a", &[]), &given).unwrap_err();
        assert_eq!(problems.len(), MAX_PROBLEMS);
        assert!(problems.iter().all(|problem| problem.field.len() < 200));
        let mut large = content("a", &["name"]);
        large.variables[0].default = json!("a".repeat(300 * 1024));
        assert_eq!(super::problems(&large)[0].field, "variables");
    }

    #[test]
    fn variables_are_checked() {
        assert_eq!(rendered("a", &["name"], json!({ "other": 1 })).unwrap_err(), "is not a variable of the prompt");
        let mut required = content("{{ name }}", &["name"]);
        required.variables[0].required = true;
        let problems = render(&required, &Map::new()).unwrap_err();
        assert_eq!((problems[0].field.as_str(), problems[0].message.as_str()), ("variables.name", "is required"));
        required.variables[0].default = json!("Ada");
        assert_eq!(render(&required, &Map::new()).unwrap()[0].to_text(), "Ada");
    }
}
