//! Query strings, and the times and durations in them.

use std::time::Duration;

use svd_config::typed_duration;

use super::answer::Failure;
use super::routes::Route;

/// A query string, taken apart; it has only parameters that its route names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes the text after the question mark apart. Unknown parameters are refused: a misspelt filter that is ignored
    /// answers another question than was asked.
    pub fn parse(text: &str, route: &Route) -> Result<Query, Failure> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                return Err(Failure::bad(format!("`{pair}` in the query is not UTF-8 in percent encoding")));
            };
            if !route.params.iter().any(|param| param.name == key) {
                let known: Vec<_> = route.params.iter().map(|param| param.name).collect();
                let hint = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Failure::bad(format!("unknown parameter `{key}`; {} takes: {hint}", route.path)));
            }
            pairs.push((key, value));
        }
        Ok(Query(pairs))
    }

    /// The last value of this name; an empty one counts as none.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|text| !text.is_empty())
    }

    /// All values of this name, those between commas too.
    pub fn list(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(','));
        values.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// `true`, `1` or nothing behind the name; `false`, `0` or no such name.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str()) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(Failure::bad(format!("{name}: `{other}` is neither `true` nor `false`"))),
        }
    }

    /// A whole number of at most `max`.
    pub fn number(&self, name: &str, max: i64) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if (0..=max).contains(&number) => Ok(Some(number)),
            _ => Err(Failure::bad(format!("{name}: `{text}` is not a number from 0 to {max}"))),
        }
    }

    /// A duration.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || Failure::bad(format!("{name}: `{text}` is not a duration such as `30s`, `10m` or `1h30m`"));
        typed_duration(text).map(Some).ok_or_else(wrong)
    }

    /// An instant, in nanoseconds since 1970: RFC 3339, or how long before `now_ns`.
    pub fn instant(&self, name: &str, now_ns: u64) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let ago =
            typed_duration(text).map(|ago| now_ns.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
        // A `+` of an offset that was not encoded has become a space.
        let instant = || text.replace(' ', "+").parse::<jiff::Timestamp>().ok();
        let wrong = || {
            let example = "`2026-11-23T10:00:00Z` or, as how long ago, `10m`";
            Failure::bad(format!("{name}: `{text}` is not an instant such as {example}"))
        };
        match ago {
            Some(ago) => Ok(Some(ago)),
            None => instant().map(|time| Some(u64::try_from(time.as_nanosecond()).unwrap_or(0))).ok_or_else(wrong),
        }
    }
}

/// Percent decoding, `+` as a space; `None` where it is not UTF-8 or an escape is cut off.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    fn parse(text: &str) -> Result<Query, Failure> {
        let route = ROUTES.iter().find(|route| route.path == "/v1/logs").unwrap();
        Query::parse(text, route)
    }

    #[test]
    fn parameters_are_decoded_and_unknown_ones_refused() {
        let query = parse("target=web,db.1&target=a%2Ab&grep=a+b%26c&follow&n=5").unwrap();
        assert_eq!(query.list("target"), ["web", "db.1", "a*b"]);
        assert_eq!(query.text("grep"), Some("a b&c"));
        assert!(query.flag("follow").unwrap());
        assert_eq!(query.number("n", 10).unwrap(), Some(5));
        assert!(query.number("n", 4).is_err());
        for wrong in ["targt=web", "target=%", "target=%f", "target=%ff", "=", "%zz=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants_are_dates_or_how_long_ago() {
        let now = 1_700_000_000_000_000_000;
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(
                parse(&format!("since={text}")).unwrap().instant("since", now).ok().flatten(),
                expected,
                "{text}"
            );
        };
        check("10m", Some(now - 600_000_000_000));
        check("2023-11-14T22:13:20Z", Some(now));
        check("2023-11-14T23:13:20+01:00", Some(now));
        check("yesterday", None);
    }
}
