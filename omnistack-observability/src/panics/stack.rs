//! The functions of a stack, read from the text of a backtrace.

/// The first segments of the paths of functions that are not the app's.
const LIBRARIES: [&str; 24] = [
    "alloc",
    "axum",
    "axum_core",
    "backtrace",
    "core",
    "futures_core",
    "futures_util",
    "hyper",
    "hyper_util",
    "omnistack",
    "omnistack_auth",
    "omnistack_core",
    "omnistack_flags",
    "omnistack_messaging",
    "omnistack_observability",
    "omnistack_realtime",
    "omnistack_storage",
    "omnistack_webhooks",
    "std",
    "tokio",
    "tokio_util",
    "tower",
    "tower_http",
    "tracing",
];

/// The beginnings of the names of functions that call the app's code: what is outside of them is not the cause.
const BOUNDARIES: [&str; 5] = [
    "std::panicking::try",
    "std::panicking::catch_unwind",
    "std::panic::catch_unwind",
    "__rust_try",
    "tokio::runtime::",
];

/// The beginnings of the names of functions that handle a panic. They are on top of the function that panicked.
#[cfg(any(feature = "sentry", test))]
const PANIC_HANDLING: [&str; 7] = [
    "__rustc::rust_begin_unwind",
    "core::panicking::",
    "omnistack_observability::panics::",
    "rust_begin_unwind",
    "std::backtrace::",
    "std::panicking::",
    "std::sys::backtrace::",
];

/// Largest number of functions of a stack.
#[cfg(any(feature = "sentry", test))]
const MAX_FRAMES: usize = 100;

/// A function of a stack.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq))]
#[cfg_attr(not(any(feature = "sentry", test)), expect(dead_code, reason = "only reports to Sentry have stacks"))]
pub(crate) struct StackFrame {
    /// The path of the function without its hash, its type parameters and its closures.
    pub(crate) function: String,
    /// The file from the folder of its crate, and the line, if the program knows them.
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    /// Whether the function is the app's, and a part of the operation that panicked.
    pub(crate) in_app: bool,
}

/// Returns the functions of a backtrace from the one that panicked outwards, at most 100. Functions without a name,
/// and those that handle the panic, are left out.
#[cfg(any(feature = "sentry", test))]
pub(crate) fn stack_of_panic(backtrace: &str) -> Vec<StackFrame> {
    let mut frames = frames(backtrace);
    let starts_with = |frame: &StackFrame, names: &[&str]| names.iter().any(|name| frame.function.starts_with(name));
    let operation = frames.iter().position(|frame| starts_with(frame, &BOUNDARIES)).unwrap_or(frames.len());
    let handling = frames.iter().take(operation).rposition(|frame| starts_with(frame, &PANIC_HANDLING));
    frames.drain(..handling.map_or(0, |last| last + 1));
    frames.truncate(MAX_FRAMES);
    frames
}

/// Returns the innermost function of the app in a backtrace. Returns `None` if there is none, such as in a program
/// without symbols.
pub(super) fn app_function(backtrace: &str) -> Option<String> {
    frames(backtrace).into_iter().find(|frame| frame.in_app).map(|frame| frame.function)
}

/// Returns the functions of a backtrace, the innermost first.
fn frames(backtrace: &str) -> Vec<StackFrame> {
    let mut lines = backtrace.lines().peekable();
    let (mut frames, mut is_outside) = (Vec::new(), false);
    while let Some(line) = lines.next() {
        let Some((number, name)) = line.trim_start().split_once(": ") else { continue };
        if number.parse::<u32>().is_err() {
            continue;
        }
        let (file, line) = match lines.peek().and_then(|line| source(line)) {
            Some((file, line)) => (Some(file), line),
            None => (None, None),
        };
        let function = simple_name(name);
        if function.is_empty() {
            continue;
        }
        is_outside |= BOUNDARIES.iter().any(|boundary| function.starts_with(boundary));
        let root = function.split("::").next().unwrap_or_default();
        let is_library = LIBRARIES.contains(&root) || file.is_some_and(is_library_file);
        let in_app = !is_outside && !is_library && function.contains("::");
        frames.push(StackFrame { function, file: file.map(|file| file_name(file).to_owned()), line, in_app });
    }
    frames
}

/// Returns the file and the line of `at FILE:LINE:COLUMN`. Returns `None` if the text has another form.
fn source(text: &str) -> Option<(&str, Option<u32>)> {
    let place = text.trim_start().strip_prefix("at ")?;
    let number = |text: &str| text.parse::<u32>().ok();
    let (rest, last) = place.rsplit_once(':').unwrap_or((place, ""));
    let Some(last) = number(last) else { return Some((place, None)) };
    Some(match rest.rsplit_once(':').and_then(|(file, line)| Some((file, number(line)?))) {
        Some((file, line)) => (file, Some(line)),
        None => (rest, Some(last)),
    })
}

pub(super) fn is_library_file(file: &str) -> bool {
    ["/rustc/", "/.cargo/registry/", "/.cargo/git/"].iter().any(|folder| file.contains(folder))
}

/// Returns the part of a file's path from the folder of its crate, which is the same on every machine.
pub(super) fn file_name(file: &str) -> &str {
    let file = file.strip_prefix("./").unwrap_or(file);
    let Some(sources) = file.rfind("/src/") else { return file };
    file[..sources].rfind('/').map_or(file, |at| &file[at + 1..])
}

/// Returns the path of a function without its hash, its type parameters and its closures.
fn simple_name(name: &str) -> String {
    let name = match name.rfind("::h") {
        Some(at) if name.len() == at + 19 && name[at + 3..].bytes().all(|byte| byte.is_ascii_hexdigit()) => &name[..at],
        _ => name,
    };
    // `<shop::Order as core::fmt::Display>::fmt` is a function of `shop::Order`.
    let qualified = name.strip_prefix('<').and_then(|rest| rest.rsplit_once(">::"));
    let name = match qualified {
        Some((of, function)) => format!("{}::{function}", of.split(" as ").next().unwrap_or(of)),
        None => name.to_owned(),
    };
    let (mut plain, mut depth, mut previous) = (String::with_capacity(name.len()), 0_u32, ' ');
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' if previous != '-' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
        previous = letter;
    }
    let segments = plain.split("::").filter(|segment| !segment.is_empty() && !segment.starts_with('{'));
    segments.collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKTRACE: &str = "   0: omnistack_observability::panics::remember
             at /build/omnistack-observability/src/panics.rs:90:5
   1: std::panicking::begin_panic_handler
             at /rustc/abc/library/std/src/panicking.rs:1:2
   2: core::panicking::panic_fmt
   3: image::decode
             at /home/ada/.cargo/registry/src/index/image-0.25.1/src/lib.rs:7:2
   4: <unknown>
   5: shop::orders::ship::{{closure}}
             at ./src/orders.rs:9:5
   6: <shop::Cart as shop::Checkout>::pay::h0123456789abcdef
             at /build/shop/src/cart.rs:12
   7: std::panicking::catch_unwind
   8: shop::main
";

    #[test]
    fn a_stack_begins_with_the_function_that_panicked() {
        let frame = |function: &str, file: Option<&str>, line, in_app| StackFrame {
            function: function.into(),
            file: file.map(Into::into),
            line,
            in_app,
        };
        let expected = [
            frame("image::decode", Some("image-0.25.1/src/lib.rs"), Some(7), false),
            frame("shop::orders::ship", Some("src/orders.rs"), Some(9), true),
            frame("shop::Cart::pay", Some("shop/src/cart.rs"), Some(12), true),
            frame("std::panicking::catch_unwind", None, None, false),
            frame("shop::main", None, None, false),
        ];
        assert_eq!(stack_of_panic(BACKTRACE), expected);
        assert_eq!(stack_of_panic("disabled backtrace"), []);
        let deep = (0..500).map(|number| format!("{number:>4}: shop::recurse")).collect::<Vec<_>>().join("\n");
        assert_eq!(stack_of_panic(&deep).len(), MAX_FRAMES);
    }

    #[test]
    fn places_are_read() {
        for (text, expected) in [
            ("   at src/a.rs:9:5", Some(("src/a.rs", Some(9)))),
            ("at src/a.rs:9", Some(("src/a.rs", Some(9)))),
            ("at src/a.rs", Some(("src/a.rs", None))),
            ("at C:\\shop\\a.rs:9:5", Some(("C:\\shop\\a.rs", Some(9)))),
            ("   1: shop::main", None),
        ] {
            assert_eq!(source(text), expected, "{text}");
        }
    }

    #[test]
    fn functions_have_stable_names() {
        for (name, expected) in [
            ("shop::orders::ship::h0123456789abcdef", "shop::orders::ship"),
            ("shop::orders::ship::{{closure}}::h0123456789abcdef", "shop::orders::ship"),
            ("shop::orders::ship::{closure#0}", "shop::orders::ship"),
            ("<shop::Order as core::fmt::Display>::fmt", "shop::Order::fmt"),
            ("shop::load::<alloc::vec::Vec<u8>>", "shop::load"),
            ("shop::map<fn(u8) -> u8>::call", "shop::map::call"),
        ] {
            assert_eq!(simple_name(name), expected);
        }
    }

    #[test]
    fn the_innermost_function_of_the_app_is_found() {
        let backtrace =
            "   0: std::panicking::begin_panic_handler\n             at /rustc/abc/library/std/src/panicking.rs:1:2
   1: core::panicking::panic_fmt
   2: image::decode
             at /home/ada/.cargo/registry/src/index/image-0.25/src/lib.rs:1:2
   3: shop::orders::ship::{{closure}}
             at ./src/orders.rs:9:5
   4: shop::main
";
        assert_eq!(app_function(backtrace).as_deref(), Some("shop::orders::ship"));
        assert_eq!(app_function("   0: std::a\n   1: main\n"), None);
        let library = "   0: omnistack_core::db::run\n   1: std::panicking::try\n   2: shop::main\n";
        assert_eq!(app_function(library), None);
    }

    #[test]
    fn files_are_named_from_their_crates() {
        assert_eq!(file_name("/build/shop/src/orders.rs"), "shop/src/orders.rs");
        assert_eq!(file_name("src/orders.rs"), "src/orders.rs");
    }
}
