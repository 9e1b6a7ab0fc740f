//! The place and the stack of the last panic of a thread.
//!
//! An error is observed on the thread that panicked, so a panic hook leaves them in a variable of the thread. The hook
//! that was installed before is called as well.

mod stack;

#[cfg(feature = "sentry")]
pub(crate) use stack::{StackFrame, stack_of_panic};

use std::{
    backtrace::Backtrace,
    cell::RefCell,
    collections::BTreeMap,
    panic::{self, PanicHookInfo},
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use omnistack_core::error_event::ErrorEvent;

use stack::{app_function, file_name, is_library_file};

/// Largest number of locations whose functions are remembered.
const MAX_KNOWN_LOCATIONS: usize = 1_000;

/// A panic.
#[derive(Clone, Debug)]
pub(crate) struct PanicPlace {
    /// The function of the app that panicked, or the file if it is unknown. Without line numbers, which change with
    /// every release.
    pub(crate) place: String,
    /// The message.
    pub(crate) message: String,
    /// The stack, if stacks are kept. Its functions are looked up when it is written as text, which
    /// takes milliseconds.
    #[cfg_attr(not(any(feature = "sentry", test)), expect(dead_code, reason = "only reports to Sentry have stacks"))]
    pub(crate) stack: Option<Arc<Backtrace>>,
}

static INSTALLED: Once = Once::new();

static KEEPS_STACKS: AtomicBool = AtomicBool::new(false);

/// The functions of the app by the location of the panic: file, line and column.
static FUNCTIONS: Mutex<BTreeMap<(String, u32, u32), Option<String>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static LAST: RefCell<Option<PanicPlace>> = const { RefCell::new(None) };
}

/// Installs the panic hook, once for the process.
pub(crate) fn install_hook() {
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            remember(info);
            previous(info);
        }));
    });
}

/// Keeps the stack of each panic from now on.
#[cfg(any(feature = "sentry", test))]
pub(crate) fn keep_stacks() {
    KEEPS_STACKS.store(true, Ordering::Relaxed);
}

/// Takes the panic of an error that is observed on this thread. Returns `None` if the error is no panic, or if its
/// panic was taken already.
pub(crate) fn take(event: &ErrorEvent<'_>) -> Option<PanicPlace> {
    if event.panicked { take_last() } else { None }
}

fn take_last() -> Option<PanicPlace> {
    LAST.try_with(|last| last.try_borrow_mut().ok()?.take()).ok().flatten()
}

fn remember(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let Some(location) = info.location() else { return };
    let stack = KEEPS_STACKS.load(Ordering::Relaxed).then(|| Arc::new(Backtrace::force_capture()));
    let text = || stack.as_ref().map_or_else(|| Backtrace::force_capture().to_string(), |stack| stack.to_string());
    let function = if is_library_file(location.file()) {
        // The location is the same for every caller of the library.
        app_function(&text())
    } else {
        known_function((location.file().to_owned(), location.line(), location.column()), text)
    };
    let place = match function {
        Some(function) => function,
        None => file_name(location.file()).to_owned(),
    };
    // Fails only if the thread is ending.
    _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(PanicPlace { place, message, stack });
        }
    });
}

/// Returns the function of the app at a location, from a backtrace only for the first panic there.
fn known_function(location: (String, u32, u32), backtrace: impl FnOnce() -> String) -> Option<String> {
    let known = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner).get(&location).cloned();
    if let Some(function) = known {
        return function;
    }
    let function = app_function(&backtrace());
    let mut functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if functions.len() < MAX_KNOWN_LOCATIONS {
        functions.insert(location, function.clone());
    }
    function
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn stacks_are_kept_on_request() {
        install_hook();
        keep_stacks();
        assert!(panic::catch_unwind(|| panic!("on purpose")).is_err());
        let stack = take_last().unwrap().stack.unwrap().to_string();
        let frames = stack_of_panic(&stack);
        assert!(frames.iter().all(|frame| !frame.function.starts_with("core::panicking::")), "{frames:#?}");
    }
}
