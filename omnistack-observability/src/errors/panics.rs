//! The place of the last panic of a thread.
//!
//! An error is observed on the thread that panicked, so a panic hook leaves the place in a variable of the thread. The
//! hook that was installed before is called as well.

use std::{
    backtrace::Backtrace,
    cell::RefCell,
    collections::BTreeMap,
    panic::{self, PanicHookInfo},
    sync::{Mutex, Once, PoisonError},
};

/// Largest number of locations whose functions are remembered.
const MAX_KNOWN_LOCATIONS: usize = 1_000;

/// The first segments of the paths of functions that are not the app's.
const LIBRARIES: [&str; 22] = [
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
    "omnistack_storage",
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

/// A panic.
#[derive(Clone, Debug)]
pub(super) struct PanicPlace {
    /// The function of the app that panicked, or the file if it is unknown. Without line numbers, which change with
    /// every release.
    pub(super) place: String,
    /// The message.
    pub(super) message: String,
}

static INSTALLED: Once = Once::new();

/// The functions of the app by the location of the panic: file, line and column.
static FUNCTIONS: Mutex<BTreeMap<(String, u32, u32), Option<String>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static LAST: RefCell<Option<PanicPlace>> = const { RefCell::new(None) };
}

/// Installs the panic hook, once for the process.
pub(super) fn install_hook() {
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            remember(info);
            previous(info);
        }));
    });
}

/// Takes the last panic of this thread. Returns `None` if there was none since the last call.
pub(super) fn take_last() -> Option<PanicPlace> {
    LAST.try_with(|last| last.try_borrow_mut().ok()?.take()).ok().flatten()
}

fn remember(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let Some(location) = info.location() else { return };
    let function = if is_library_file(location.file()) {
        // The location is the same for every caller of the library.
        app_function(&Backtrace::force_capture().to_string())
    } else {
        known_function((location.file().to_owned(), location.line(), location.column()))
    };
    let place = match function {
        Some(function) => function,
        None => file_name(location.file()).to_owned(),
    };
    // Fails only if the thread is ending.
    _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(PanicPlace { place, message });
        }
    });
}

/// Returns the function of the app at a location, from a backtrace only for the first panic there.
fn known_function(location: (String, u32, u32)) -> Option<String> {
    let known = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner).get(&location).cloned();
    if let Some(function) = known {
        return function;
    }
    let function = app_function(&Backtrace::force_capture().to_string());
    let mut functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if functions.len() < MAX_KNOWN_LOCATIONS {
        functions.insert(location, function.clone());
    }
    function
}

fn is_library_file(file: &str) -> bool {
    ["/rustc/", "/.cargo/registry/", "/.cargo/git/"].iter().any(|folder| file.contains(folder))
}

/// Returns the part of a file's path from the folder of its crate, which is the same on every machine.
fn file_name(file: &str) -> &str {
    let Some(sources) = file.rfind("/src/") else { return file };
    file[..sources].rfind('/').map_or(file, |at| &file[at + 1..])
}

/// Returns the innermost function of the app in a backtrace. Returns `None` if there is none, such as in a program
/// without symbols.
fn app_function(backtrace: &str) -> Option<String> {
    let mut lines = backtrace.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((number, name)) = line.trim_start().split_once(": ") else { continue };
        if number.parse::<u32>().is_err() {
            continue;
        }
        let is_library = lines.peek().is_some_and(|file| file.trim_start().starts_with("at ") && is_library_file(file));
        let name = simple_name(name);
        if BOUNDARIES.iter().any(|boundary| name.starts_with(boundary)) {
            return None;
        }
        let root = name.split("::").next().unwrap_or_default();
        if !is_library && name.contains("::") && !LIBRARIES.contains(&root) {
            return Some(name);
        }
    }
    None
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
    fn the_last_panic_of_the_thread_is_taken_once() {
        install_hook();
        assert!(panic::catch_unwind(|| panic!("on purpose {}", 7)).is_err());
        let last = take_last().unwrap();
        assert_eq!(last.message, "on purpose 7");
        assert!(!last.place.is_empty());
        assert!(take_last().is_none());
    }

    #[test]
    fn files_are_named_from_their_crates() {
        assert_eq!(file_name("/build/shop/src/orders.rs"), "shop/src/orders.rs");
        assert_eq!(file_name("src/orders.rs"), "src/orders.rs");
    }
}
