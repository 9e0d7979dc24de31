//! Durations on the command line: `500ms`, `5s`, `2m`, or plain seconds.

use std::time::Duration;

/// The longest duration that is taken, a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Reads a duration.
pub fn parse(text: &str) -> Result<Duration, String> {
    let number_end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit '{unit}'; there are: ms, s, m, h")),
    };
    match number.parse::<f64>().map(|number| number * scale) {
        Ok(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("it takes 0 to 24 hours, like 500ms, 5s, 2m, or plain seconds".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(parse("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse("5").unwrap(), Duration::from_secs(5));
        assert_eq!(parse("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse("2m").unwrap(), Duration::from_secs(120));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in ["", "s", "-1", "5 s", "5d", "nan", "inf", "1e9", "25h"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
