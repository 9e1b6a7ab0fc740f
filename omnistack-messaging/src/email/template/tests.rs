//! Tests of rendering, and of the restrictions of sources.

use super::*;

/// A template for tests, with values of every kind.
#[derive(Serialize)]
struct SampleTemplate {
    name: String,
    link: String,
    none: Option<String>,
    lines: Vec<String>,
    seconds: u64,
    at: String,
}

impl Template for SampleTemplate {
    const NAME: &'static str = "any";
    const SOURCES: &'static [(&'static str, &'static str)] = &[("en", "subject: Any\n---\n")];

    fn sample() -> Self {
        Self {
            name: "Ada".into(),
            link: "https://example.com/a?b=c&d=e".into(),
            none: None,
            lines: vec!["one".into(), "two".into()],
            seconds: 5400,
            at: "2030-01-31T12:34:56Z".into(),
        }
    }
}

fn templates() -> Templates {
    Templates::new(Brand::new("Acme & Sons").support("help@acme.example").url("https://acme.example"))
        .with::<SampleTemplate>()
        .unwrap()
}

fn body(body: &str) -> Result<RenderedTemplate, TemplateError> {
    templates().check("any", "en", &format!("subject: {{{{ name }}}}\n---\n{body}"))
}

#[test]
fn shipped_ones_render_in_every_locale() {
    let templates = templates();
    let names: Vec<_> = templates.list().collect();
    assert_eq!(names.len(), 14);
    for (name, locales) in names {
        if name != "any" {
            assert_eq!(locales, ["en", "de"], "{name}");
        }
        for locale in locales {
            let mail = templates.preview(name, locale).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(mail.locale, locale);
            for wrong in ["{{", "{%", "**", "\\", "undefined", "none"] {
                assert!(!mail.text.contains(wrong), "{name} {locale} has {wrong}: {}", mail.text);
            }
            assert!(mail.html.contains("Acme &amp; Sons") && mail.text.contains("help@acme.example"), "{name}");
            assert!(!mail.html.contains("src=") && !mail.html.contains("@import"), "nothing is loaded from elsewhere");
        }
    }
}

#[test]
fn the_same_source_makes_both_forms() {
    for (source, html, text) in [
        ("# Big\n\n## Small", "<h1", "Big\n\nSmall"),
        ("one\ntwo\n\nthree", "one two</p>", "one two\n\nthree"),
        ("**bold** and *soft*", "<strong", "bold and soft"),
        ("- a\n- b\n\nc", "<ul", "- a\n- b\n\nc"),
        ("x\n\n1. a\n2. b", "<ol", "x\n\n1. a\n2. b"),
        ("> a\n>\n> b\n\nc", "<blockquote", "> a\n\n> b\n\nc"),
        ("[here]({{ link }})", "href=\"https://example.com/a?b=c&amp;d=e\"", "here (https://example.com/a?b=c&d=e)"),
        ("{{ button(link, 'Go & see') }}", ">Go &amp; see</a>", "Go & see:\nhttps://example.com/a?b=c&d=e"),
        ("Type {{ code('4*2') }} now", ">4*2</code>", "Type 4*2 now"),
        ("`plain`", ">plain</code>", "plain"),
        ("{{ seconds | duration }}", "90 minutes", "90 minutes"),
        ("{{ at | time }}", "31 January 2030, 12:34 UTC", "31 January 2030, 12:34 UTC"),
        ("{% for line in lines %}{{ line }}{% if not loop.last %}, {% endif %}{% endfor %}", "one, two", "one, two"),
        ("{% if none %}x{% else %}y{% endif %}{{ none }}", ">y</p>", "y"),
        ("{{ product }}", "Acme &amp; Sons", "Acme & Sons"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;", "<b>x</b>"),
        ("{{ lines[0] | upper }} {{ lines | length }}", "ONE 2", "ONE 2"),
    ] {
        let mail = body(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert!(mail.html.contains(html), "{source}: {}", mail.html);
        let (text_body, _) = mail.text.split_once("\n\n-- \n").unwrap();
        assert_eq!(text_body, text, "{source}");
    }
}

#[test]
fn a_value_is_text_whatever_it_holds() {
    let templates = templates();
    let hostile = [
        "<script>alert(1)</script>",
        "**bold** [x](https://evil.example) `code` # no",
        "\n\n# Heading\n\n> note\n\n- item\n\n1. one\n\n    block\n\n---\n",
        "{{ link }} {% for x in y %}",
        "&lt;b&gt; &amp; &#42;",
        "](https://evil.example) ![x](https://evil.example/p.png)",
        "a\u{202e}b\u{0}c\r\nBcc: eve@example.com",
        "<https://evil.example>",
        "\\*\\",
    ];
    for value in hostile {
        let any = SampleTemplate { name: value.into(), ..SampleTemplate::sample() };
        for source in ["{{ name }}", "# {{ name }}", "> {{ name }}", "- {{ name }}", "a {{ name }} b", "**{{ name }}**"]
        {
            let source = format!("subject: Hello {{{{ name }}}}\n---\n{source}");
            let mail = templates
                .render_with(("any", None), &[], Value::from(Serde(&any)), "en", &[("en", &source)], &[])
                .unwrap_or_else(|error| panic!("{source} {value}: {error}"));
            let tags = |html: &str| {
                html.split('<')
                    .filter_map(|tag| tag.split([' ', '>']).next())
                    .map(str::to_owned)
                    .filter(|tag| tag != "br")
                    .collect::<Vec<_>>()
            };
            let plain = SampleTemplate { name: "plain".into(), ..SampleTemplate::sample() };
            let calm = templates
                .render_with(("any", None), &[], Value::from(Serde(&plain)), "en", &[("en", &source)], &[])
                .unwrap();
            assert_eq!(tags(&mail.html), tags(&calm.html), "{source} {value:?}: {}", mail.html);
            assert!(!mail.html.contains("href=\"https://evil"), "{}", mail.html);
            assert!(!mail.subject.chars().any(char::is_control), "{:?}", mail.subject);
            assert!(!mail.text.contains('\u{202e}') && !mail.text.contains('\0'));
        }
    }
    let any = SampleTemplate { name: "a\nb".into(), ..SampleTemplate::sample() };
    let source = "subject: x\n---\n> {{ name }}";
    let mail =
        templates.render_with(("any", None), &[], Value::from(Serde(&any)), "en", &[("en", source)], &[]).unwrap();
    assert!(mail.html.contains("a<br>b") && mail.text.starts_with("> a\n> b\n"), "{}", mail.text);
}

#[test]
fn what_is_wrong_with_a_source_is_said_to_its_author() {
    let tower = format!("{}{{{{ name }}}}{}", "{% for a in lines %}".repeat(20), "{% endfor %}".repeat(20));
    let long = format!(
        "{{% for a in lines %}}{}{{% endfor %}}",
        "{% for b in lines %}{% for c in lines %}x{% endfor %}{% endfor %}".replace('x', &"x".repeat(9000))
    );
    let wide = "- a\n".repeat(4000);
    for (source, says) in [
        ("{{ nme }}", "line 3: undefined value"),
        ("{{ name.first }}", "line 3"),
        ("\n{% if nme %}{% endif %}", "line 4: undefined value"),
        ("{{ name", "a tag has no end"),
        ("{# name", "a comment has no end"),
        ("{% if name %}", "syntax error"),
        ("{{ button('javascript:alert(1)', 'x') }}", "not an http or https URL"),
        ("{{ button('data:text/html,x', 'x') }}", "not an http or https URL"),
        ("{{ button('https://bank.example@evil.example', 'x') }}", "not contain a user name"),
        ("{{ button('/relative', 'x') }}", "not an http or https URL"),
        ("{{ button(name, 'x') }}", "`Ada` is not an http or https URL"),
        ("[x](javascript:alert)", "not an http or https URL"),
        ("[x](mailto:a@b.example)", "not an http or https URL"),
        ("![x](https://example.com/p.png)", "images are not allowed"),
        ("{% include 'x' %}", "`include` is not available"),
        ("{% extends 'x' %}", "`extends` is not available"),
        ("{% set a = name %}", "`set` is not available"),
        ("{%- with a = name %}", "`with` is not available"),
        ("{% macro a() %}{% endmacro %}", "`macro` is not available"),
        ("{% raw %}{{ ' {% endraw %}{{ name ~ name }}", "`raw` is not available"),
        ("{{ name ~ name }}", "`~` is not available"),
        ("{{ 'x' * 1000000 }}", "`*` is not available"),
        ("{{ [name] + [name] }}", "`+` is not available"),
        ("{% for a in [name ~ name] %}{% endfor %}", "`~` is not available"),
        ("{{ '\\'' ~ name }}", "`~` is not available"),
        ("{{ lines }}", "a sequence can't be written as text"),
        ("{{ name | safe }}", "unknown filter"),
        ("{{ range(10) }}", "unknown function"),
        (&tower, "too many steps"),
        (&long, "more than 64 KiB"),
        (&wide, "more than 100 KiB of HTML"),
    ] {
        let source = source.to_owned();
        let error = match templates().check("any", "en", &format!("subject: x\n---\n{source}")) {
            Err(error) => error.to_string(),
            Ok(mail) => panic!("{source:.80}: {:.300}", mail.text),
        };
        assert!(error.contains(says) && error.starts_with("template `any` (en): "), "{source:.80}: {error}");
    }
    for (source, says) in [
        ("no head", "must begin with `subject: …`"),
        ("subject:\n---\nx", "must begin with `subject: …`"),
        ("subject: {{ none }}\n---\nx", "the subject is empty"),
        (&"x".repeat(MAX_SOURCE_BYTES + 1), "longer than 32 KiB"),
    ] {
        let error = templates().check("any", "en", source).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(templates().check("none", "en", "").unwrap_err().to_string().contains("no template of this name"));
    for locale in ["", "d", "de_AT", "de-", "../de", "de-AT-abcdefghijklmnop", "deutsch"] {
        assert!(templates().check("any", locale, "subject: x\n---\n").is_err(), "{locale}");
    }
    assert!(templates().check("footer", "de", "Bye, {{ product }}").unwrap().text.ends_with("-- \nBye, Acme & Sons\n"));
    assert!(templates().check("footer", "de", "{{ name }}").is_err(), "the footer has no values of the mail");
}

#[test]
fn the_nearest_locale_is_taken() {
    let own = [("de-AT", "at"), ("en", "own")];
    let shipped = [("en", "en"), ("de", "de"), ("fr", "fr")];
    for (locale, expected) in [
        ("de-AT", "at"),
        ("de_at", "at"),
        ("de-CH", "de"),
        ("DE", "de"),
        ("fr-FR", "fr"),
        ("it", "own"),
        ("", "own"),
        ("en-GB", "own"),
    ] {
        assert_eq!(select_source(locale, &own, &shipped).unwrap().1, expected, "{locale}");
    }
    let mail = templates().preview("verify", "de-AT").unwrap();
    assert!(mail.html.contains("lang=\"de\"") && mail.subject.contains("Bestätige"), "{}", mail.subject);
    assert!(mail.text.contains("24 Stunden"), "{}", mail.text);
}

#[test]
fn a_subject_is_one_line_that_is_not_too_long() {
    let any = SampleTemplate { name: "x".repeat(500), ..SampleTemplate::sample() };
    let source = ("en", "subject: {{ name }}\n---\nx");
    let mail = templates().render_with(("any", None), &[], Value::from(Serde(&any)), "en", &[source], &[]).unwrap();
    assert_eq!(mail.subject.chars().count(), 200);
    assert!(mail.subject.ends_with('…'));
}
