//! What a run tells: lines for people, an object for programs.

use serde_json::{Map, Value, json};

use super::checker::Tally;
use super::plan::{Mode, Pace, Plan, Via};
use crate::exit::Failure;
use crate::output;

/// The findings of a run.
pub struct Report {
    object: Map<String, Value>,
    title: String,
    lines: Vec<(&'static str, String)>,
    /// What was wrong with what the server delivered.
    fault: Option<String>,
}

impl Report {
    pub fn new(plan: &Plan, title: String) -> Self {
        let mode = match plan.mode {
            Mode::Fanout(_) => "fanout",
            Mode::PublishOnly => "publish",
            Mode::Idle(_) => "idle",
            Mode::Handshakes => "handshakes",
            Mode::Packets(_) => "packets",
            Mode::Session(_) => "session",
        };
        let mut report = Self { object: Map::new(), title, lines: Vec::new(), fault: None };
        report.put("mode", mode);
        if let Mode::Fanout(pace) = plan.mode {
            report.put("subscribers", plan.subscribers);
            match pace {
                Pace::Window(window) => report.put("window", window),
                Pace::Rate(rate) => report.put("rate", rate),
            }
        }
        if matches!(plan.mode, Mode::Fanout(_) | Mode::PublishOnly) {
            report.put("channels", plan.channels);
            report.put("size", plan.size);
            let via = match plan.via {
                Via::Http => "http",
                Via::Post => "post",
                Via::Ws => "ws",
                Via::Broker => "broker",
            };
            report.put("publish", via);
            report.put("publishers", plan.publishers);
        }
        report
    }

    /// Adds a value for programs.
    pub fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.object.insert(key.into(), value.into());
    }

    /// Adds a line for people.
    pub fn say(&mut self, label: &'static str, text: String) {
        self.lines.push((label, text));
    }

    /// Adds what the subscribers found. `problem` is the first thing that went wrong.
    pub fn checked(&mut self, tally: &Tally, problem: Option<String>) {
        let found = [
            ("lost", tally.lost),
            ("duplicated", tally.duplicated),
            ("out_of_order", tally.out_of_order),
            ("corrupted", tally.corrupted),
            ("disconnected", tally.disconnected),
        ];
        for (key, count) in found {
            self.put(key, count);
        }
        let text: Vec<_> = found
            .iter()
            .map(|(key, count)| format!("{} {}", number(*count as f64), key.replace('_', " ")))
            .collect();
        let text = text.join(", ");
        if !tally.is_clean() {
            let why = problem.map(|why| format!("; first: {why}")).unwrap_or_default();
            self.fault = Some(format!("the server did not deliver as it must: {text}{why}"));
        }
        self.say("checked", text);
    }

    /// Adds CPU seconds.
    pub fn cpu(&mut self, generator: f64, server: Option<f64>) {
        self.put("generator_cpu_s", generator);
        self.put("server_cpu_s", json!(server));
        let server = server.map(|s| format!(", server {s:.2} s")).unwrap_or_default();
        self.say("cpu", format!("generator {generator:.2} s{server}"));
    }

    /// Prints it; an error if the server was found at fault.
    pub fn print(mut self, json: bool) -> Result<(), Failure> {
        self.object.insert("clean".into(), self.fault.is_none().into());
        match json {
            true => output::line(Value::Object(self.object))?,
            false => {
                let mut text = format!("{}\n", self.title);
                for (label, line) in &self.lines {
                    text += &format!("  {label:12}{line}\n");
                }
                output::write_all(text.as_bytes())?;
            }
        }
        self.fault.map_or(Ok(()), |fault| Err(Failure::failed(fault)))
    }
}

/// A number with its thousands apart; below 100 with two decimals.
pub fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (value, text) in
            [(0.0, "0"), (7.0, "7"), (49.97, "49.97"), (999.4, "999"), (6_531_000.0, "6,531,000")]
        {
            assert_eq!(number(value), text);
        }
    }
}
