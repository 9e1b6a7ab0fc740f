//! The Prometheus text format, read back for the export of metrics by OTLP.

/// The samples of one metric.
#[derive(Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// `counter`, `gauge`, `histogram` or `summary`.
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// A sample.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    /// The end of the name, such as `_bucket` of a histogram.
    pub(crate) suffix: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Series {
    /// Reads the text that the recorder has written: each metric begins with `# HELP`, if it has a description, and
    /// `# TYPE`.
    pub(crate) fn parse(text: &str) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut help = "";
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# HELP ") {
                help = described.split_once(' ').map_or("", |(_, help)| help);
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
                all.push(Self { name: name.into(), kind: kind.into(), help: help.into(), samples: Vec::new() });
                help = "";
            } else if let Some(series) = all.last_mut() {
                series.samples.extend(Sample::parse(line, &series.name));
            }
        }
        all
    }
}

impl Sample {
    fn parse(line: &str, metric: &str) -> Option<Self> {
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = match head.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (head, ""),
        };
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            value => value.parse().ok()?,
        };
        Some(Self { suffix: name.strip_prefix(metric)?.into(), labels: labels_of(labels), value })
    }
}

/// Reads `name="value",name="value"`. In values, `\\`, `\"` and `\n` are escaped.
fn labels_of(text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (mut value, mut end) = (String::new(), after.len());
        let mut letters = after.char_indices();
        while let Some((index, letter)) = letters.next() {
            match letter {
                '"' => {
                    end = index + 1;
                    break;
                }
                '\\' => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped)) => value.push(escaped),
                    None => {}
                },
                other => value.push(other),
            }
        }
        labels.push((name.trim_start_matches(',').into(), value));
        rest = &after[end.min(after.len())..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP a Number of a.\n# TYPE a counter\na{b=\"x \\\"y\\\" \\\\ {z}\",c=\"\"} 3\n\n# TYPE d histogram\nd_bucket{le=\"+Inf\"} 2\nd_sum 0.5\n";
        let series = Series::parse(text);
        assert_eq!(series.len(), 2);
        assert_eq!((series[0].kind.as_str(), series[0].help.as_str()), ("counter", "Number of a."));
        let labels = vec![("b".into(), "x \"y\" \\ {z}".into()), ("c".into(), String::new())];
        assert_eq!(series[0].samples, [Sample { suffix: String::new(), labels, value: 3.0 }]);
        assert_eq!(series[1].samples[0].suffix, "_bucket");
        assert_eq!(series[1].samples[1], Sample { suffix: "_sum".into(), labels: Vec::new(), value: 0.5 });
    }
}
