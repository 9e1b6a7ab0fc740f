//! The difficulty of a request, estimated without a call. No I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chat::{ChatRequest, Message, OutputFormat, Part, ReasoningEffort, Role};

/// The bytes of text that are searched for words, at most.
const MAX_SEARCHED_BYTES: usize = 16 * 1024;
/// Words that ask for reasoning.
const REASONING_WORDS: &[&str] = &[
    "analyse",
    "analyze",
    "architecture",
    "compare",
    "debug",
    "derive",
    "design",
    "evaluate",
    "explain why",
    "optimise",
    "optimize",
    "plan",
    "proof",
    "prove",
    "reason",
    "refactor",
    "step by step",
    "trade-off",
    "tradeoff",
];
/// Words of programs.
const CODE_WORDS: &[&str] = &[
    "```",
    "algorithm",
    "async ",
    "class ",
    "compile",
    "def ",
    "exception",
    "fn ",
    "function",
    "import ",
    "sql",
    "stack trace",
];
/// Words of short tasks.
const SIMPLE_WORDS: &[&str] = &[
    "classify",
    "define",
    "hello",
    "list the",
    "summarise",
    "summarize",
    "thanks",
    "translate",
    "what is",
    "who is",
    "yes or no",
];
/// The score from which on a request is moderate.
const MODERATE_SCORE: i32 = 20;
/// The score from which on a request is complex.
const COMPLEX_SCORE: i32 = 50;

/// The difficulty of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Complexity {
    /// A short question or task.
    Simple,
    /// A usual task.
    Moderate,
    /// A task that needs reasoning, or has a long input.
    Complex,
}

impl Complexity {
    pub(super) const fn level(self) -> u8 {
        match self {
            Self::Simple => 0,
            Self::Moderate => 1,
            Self::Complex => 2,
        }
    }
}

impl fmt::Display for Complexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simple => "simple",
            Self::Moderate => "moderate",
            Self::Complex => "complex",
        })
    }
}

/// Estimates the difficulty of a request: by its length, the words of the last message of the user, its tools, the form
/// of its answer, its media and its number of turns. It makes no call and takes some microseconds.
///
/// ```
/// use omnistack_ai::{ChatRequest, Complexity, Message, complexity_of};
///
/// let request = |text: &str| ChatRequest::new("auto", [Message::user(text)]);
/// assert_eq!(complexity_of(&request("What is the capital of France?")), Complexity::Simple);
/// let hard = "Design the architecture of a queue, compare three algorithms step by step, and prove that none loses work.";
/// assert_eq!(complexity_of(&request(hard)), Complexity::Complex);
/// ```
pub fn complexity_of(request: &ChatRequest) -> Complexity {
    match score(request) {
        ..MODERATE_SCORE => Complexity::Simple,
        MODERATE_SCORE..COMPLEX_SCORE => Complexity::Moderate,
        COMPLEX_SCORE.. => Complexity::Complex,
    }
}

fn score(request: &ChatRequest) -> i32 {
    let bytes: usize = request.messages.iter().map(text_bytes).sum();
    let by_length = match bytes {
        ..400 => 0,
        400..2_000 => 10,
        2_000..8_000 => 20,
        8_000..40_000 => 35,
        _ => 55,
    };
    let by_output = match &request.output {
        OutputFormat::Text => 0,
        OutputFormat::JsonObject => 5,
        OutputFormat::JsonSchema { .. } => 10,
    };
    let by_reasoning = match request.reasoning {
        Some(ReasoningEffort::High | ReasoningEffort::Highest) => 60,
        Some(ReasoningEffort::Medium) => 20,
        _ => 0,
    };
    let by_tools = match request.tools.len() {
        0 => 0,
        1..=3 => 15,
        _ => 25,
    };
    let users = request.messages.iter().filter(|message| message.role == Role::User);
    let by_turns = points(users.count().saturating_sub(1), 3, 15);
    let by_media = points(
        request.messages.iter().flat_map(|message| &message.parts).filter(|part| is_media(part)).count(),
        10,
        20,
    );
    by_length + by_output + by_reasoning + by_tools + by_turns + by_media + by_words(request)
}

/// Scores the words of the last message of the user.
fn by_words(request: &ChatRequest) -> i32 {
    let last = request.messages.iter().rev().find(|message| message.role == Role::User);
    let text = last.map(searched_text).unwrap_or_default();
    let count = |words: &[&str]| words.iter().filter(|word| text.contains(**word)).count();
    let questions = text.matches('?').count().saturating_sub(1);
    points(count(REASONING_WORDS), 15, 60) + points(count(CODE_WORDS), 10, 30) + points(questions, 5, 15)
        - points(count(SIMPLE_WORDS), 10, 20)
}

/// Returns the start of the text of a message, in lower case.
fn searched_text(message: &Message) -> String {
    let mut text = String::new();
    for part in &message.parts {
        if let Part::Text { text: more, .. } = part {
            let left = MAX_SEARCHED_BYTES.saturating_sub(text.len());
            let end = more.floor_char_boundary(left);
            text.push_str(&more[..end]);
            text.push('\n');
        }
    }
    text.make_ascii_lowercase();
    text
}

fn text_bytes(message: &Message) -> usize {
    let bytes = message.parts.iter().map(|part| match part {
        Part::Text { text, .. } => text.len(),
        _ => 0,
    });
    bytes.sum()
}

const fn is_media(part: &Part) -> bool {
    matches!(part, Part::Image(_) | Part::File(_))
}

/// Returns so many points for each, up to a limit.
fn points(count: usize, each: i32, limit: i32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX).saturating_mul(each).min(limit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::{Media, Tool};

    fn request(text: &str) -> ChatRequest {
        ChatRequest::new("auto", [Message::user(text)])
    }

    #[test]
    fn the_text_decides() {
        use Complexity::{Complex, Moderate, Simple};
        for (text, expected) in [
            ("", Simple),
            ("Hello!", Simple),
            ("What is the capital of France?", Simple),
            ("Translate to German: good morning", Simple),
            ("Write a function in Rust that parses a date, and explain the import of each crate.", Moderate),
            ("Debug this stack trace: the function fails", Moderate),
            ("Prove step by step that the algorithm ends, and compare it with quicksort.", Complex),
            ("PROVE STEP BY STEP THAT THE ALGORITHM ENDS, AND COMPARE IT WITH QUICKSORT.", Complex),
        ] {
            assert_eq!(complexity_of(&request(text)), expected, "{text}");
        }
        assert_eq!(complexity_of(&request(&"word ".repeat(500))), Moderate);
        assert_eq!(complexity_of(&request(&"word ".repeat(10_000))), Complex);
        // A text that is cut within a character.
        assert_eq!(complexity_of(&request(&"你".repeat(6_000))), Moderate);
    }

    #[test]
    fn the_rest_of_the_request_counts() {
        let tool = || Tool::new("find", "Finds", json!({ "type": "object" }));
        let tools = (0..4).fold(request("Hi"), |request, _| request.tool(tool()));
        assert_eq!(complexity_of(&tools), Complexity::Moderate);

        let mut reasoning = request("Hi");
        reasoning.reasoning = Some(ReasoningEffort::High);
        assert_eq!(complexity_of(&reasoning), Complexity::Complex);

        let images = (0..2).map(|_| Part::Image(Media::url("https://example.com/a.png")));
        let message = Message::new(Role::User, images.chain([Part::text("Hi")]).collect());
        assert_eq!(complexity_of(&ChatRequest::new("auto", [message])), Complexity::Moderate);

        assert_eq!(complexity_of(&ChatRequest::new("auto", [])), Complexity::Simple);
    }
}
