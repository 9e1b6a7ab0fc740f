//! The indentation of JSON documents.

/// The indentation of a level.
const LEVEL: &str = "  ";

/// Returns a JSON document with line breaks and indentation. Its fields keep their order.
pub(super) fn indented(document: &str) -> String {
    let mut text = String::with_capacity(2 * document.len());
    let (mut depth, mut is_first, mut is_string, mut is_escaped) = (0_usize, false, false, false);
    for character in document.chars() {
        if is_string {
            is_string = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
            text.push(character);
            continue;
        }
        match character {
            ' ' | '\n' | '\r' | '\t' => continue,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                // An empty object or list stays on its line.
                if !is_first {
                    break_line(&mut text, depth);
                }
            }
            _ if is_first => break_line(&mut text, depth),
            _ => {}
        }
        is_first = false;
        text.push(character);
        match character {
            '"' => is_string = true,
            '{' | '[' => (depth, is_first) = (depth + 1, true),
            ',' => break_line(&mut text, depth),
            ':' => text.push(' '),
            _ => {}
        }
    }
    text
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n(LEVEL, depth));
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn documents_are_indented_like_those_of_serde_json() {
        let value = serde_json::json!({
            "a": [], "b": {}, "c": [1, -2.5e3, true, null, "x"], "d": { "e": [{}, [[]], { "f": "g" }] },
            "h": "{\"i\": [1, 2]}, \\", "": "\n\u{1f680}: ,",
        });
        for value in [value, serde_json::json!([]), serde_json::json!("a\\\""), serde_json::json!(1)] {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(indented(&value.to_string()), pretty);
            assert_eq!(indented(&pretty), pretty);
        }
    }

    #[test]
    fn fields_keep_their_order() {
        assert_eq!(indented(r#"{"b":1,"a":2}"#), "{\n  \"b\": 1,\n  \"a\": 2\n}");
    }
}
